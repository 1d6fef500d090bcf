using OpenElm.Chat;
using OpenElm.Inference.Generation;

namespace OpenElm.Commands;

/// <summary>The output of <c>chat --json</c>.</summary>
internal sealed record ChatDocument(string Template, int Context, IReadOnlyList<ChatMessage> Messages, IReadOnlyList<TurnStatistics> Turns);

/// <summary>What one answer took.</summary>
internal sealed record TurnStatistics(int PromptTokens, int ReusedTokens, int GeneratedTokens, double SecondsToFirstToken, double? TokensPerSecond, int Proposed, int Accepted, FinishReason FinishReason)
{
    public TurnStatistics(GenerationRun run)
        : this(
            run.Prompt.Length, run.ReusedTokens, run.Output.Length, run.Rates.TimeToFirstToken.TotalSeconds,
            double.IsFinite(run.Rates.GenerationTokensPerSecond) ? run.Rates.GenerationTokensPerSecond : null,
            run.Speculation.Proposed, run.Speculation.Accepted, run.FinishReason)
    {
    }
}
