namespace OpenElm.Inference.Generation;

/// <summary>Speed as the paper reports it. The time of the first generated token belongs to the prompt.</summary>
/// <param name="PromptTokens">Tokens of the prompt, BOS included.</param>
/// <param name="GeneratedTokens">Tokens generated.</param>
/// <param name="TimeToFirstToken">From the start to the first token.</param>
/// <param name="TotalTime">From the start to the last token.</param>
public readonly record struct GenerationRates(int PromptTokens, int GeneratedTokens, TimeSpan TimeToFirstToken, TimeSpan TotalTime)
{
    /// <summary>Prompt tokens ÷ time to the first token.</summary>
    public double PromptTokensPerSecond => PromptTokens / TimeToFirstToken.TotalSeconds;

    /// <summary>Generated tokens ÷ the time after the first token; NaN where only one was generated.</summary>
    public double GenerationTokensPerSecond => GeneratedTokens > 1 ? GeneratedTokens / (TotalTime - TimeToFirstToken).TotalSeconds : double.NaN;

    /// <summary>All tokens ÷ all time.</summary>
    public double TotalTokensPerSecond => (PromptTokens + GeneratedTokens) / TotalTime.TotalSeconds;
}
