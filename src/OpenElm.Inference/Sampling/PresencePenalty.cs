namespace OpenElm.Inference.Sampling;

/// <summary>Subtracts the penalty once from the logit of every token that occurs in the output; the prompt does not count.</summary>
/// <param name="penalty">Above 0 encourages new tokens.</param>
/// <param name="promptLength">The first token of the output.</param>
public sealed class PresencePenalty(double penalty, int promptLength) : ILogitsProcessor
{
    readonly float _penalty = (float)penalty;
    bool[] _done = [];

    /// <inheritdoc/>
    public void Apply(ReadOnlySpan<int> tokens, Span<float> logits)
    {
        if (_done.Length < logits.Length)
        {
            _done = new bool[logits.Length];
        }

        ReadOnlySpan<int> output = tokens[promptLength..];
        foreach (int token in output)
        {
            logits[token] -= _done[token] ? 0 : _penalty;
            _done[token] = true;
        }

        foreach (int token in output)
        {
            _done[token] = false;
        }
    }
}
