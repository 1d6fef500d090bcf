using OpenElm.Inference.Generation;

namespace OpenElm.Inference.Chat;

/// <summary>One answer: enumerate it once, then read how it went. What was said up to a cancellation stays in the conversation.</summary>
public sealed class ChatTurn
{
    readonly Action<string> _remember;
    readonly int _context;

    internal ChatTurn(GenerationRun run, int forgotten, int context, Action<string> remember) =>
        (Run, ForgottenTurns, _context, _remember) = (run, forgotten, context, remember);

    /// <summary>The tokens, the rates and why it ended.</summary>
    public GenerationRun Run { get; }

    /// <summary>The oldest turns that had to be forgotten, for the context is full.</summary>
    public int ForgottenTurns { get; }

    /// <summary>Whether the answer was cut because the context is full.</summary>
    public bool IsContextFull => Run.FinishReason is FinishReason.MaxTokens or FinishReason.LengthLimit && Run.Prompt.Length + Run.Output.Length >= _context;

    /// <summary>Generates the answer.</summary>
    /// <param name="cancellation">Stops between two tokens.</param>
    /// <returns>Parts as they come; together they are the answer.</returns>
    public IEnumerable<string> Text(CancellationToken cancellation = default)
    {
        var answer = new System.Text.StringBuilder();
        try
        {
            foreach (string part in Run.Text(cancellation))
            {
                answer.Append(part);
                yield return part;
            }
        }
        finally
        {
            if (Run.Output.Length > 0 || Run.FinishReason != FinishReason.None)
            {
                _remember(answer.ToString());
            }
        }
    }
}
