namespace OpenElm.Inference.Sampling;

/// <summary>Every id that occurs so far, once: a positive logit is divided by the penalty, a negative one multiplied.</summary>
/// <param name="penalty">Above 1 discourages repetition.</param>
public sealed class RepetitionPenalty(double penalty) : ILogitsProcessor
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

        foreach (int token in tokens)
        {
            // Ids of padded rows are in the vocabulary but no candidates.
            if (token < logits.Length && !_done[token])
            {
                _done[token] = true;
                logits[token] = logits[token] < 0 ? logits[token] * _penalty : logits[token] / _penalty;
            }
        }

        foreach (int token in tokens)
        {
            if (token < logits.Length)
            {
                _done[token] = false;
            }
        }
    }
}
