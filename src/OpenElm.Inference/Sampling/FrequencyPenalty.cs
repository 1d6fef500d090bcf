namespace OpenElm.Inference.Sampling;

/// <summary>Subtracts the penalty from a token's logit as often as the token occurs in the output; the prompt does not count.</summary>
/// <param name="penalty">Above 0 discourages repetition, in proportion to it.</param>
/// <param name="promptLength">The first token of the output.</param>
public sealed class FrequencyPenalty(double penalty, int promptLength) : ILogitsProcessor
{
    int[] _counts = [];

    /// <inheritdoc/>
    public void Apply(ReadOnlySpan<int> tokens, Span<float> logits)
    {
        if (_counts.Length < logits.Length)
        {
            _counts = new int[logits.Length];
        }

        ReadOnlySpan<int> output = tokens[promptLength..];
        foreach (int token in output)
        {
            _counts[token]++;
        }

        foreach (int token in output)
        {
            logits[token] -= (float)(penalty * _counts[token]);
            _counts[token] = 0; // so that it is subtracted once, and the next call begins with zeros
        }
    }
}
