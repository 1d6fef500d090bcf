namespace OpenElm.Inference.Sampling;

/// <summary>
/// Nucleus: with the tokens in ascending order, drops those whose cumulative probability is at most 1 − p; the likeliest
/// always stays. So it keeps the fewest likeliest tokens that together exceed p.
/// </summary>
/// <param name="p">In (0, 1].</param>
public sealed class TopP(double p) : ILogitsProcessor
{
    readonly float _dropped = (float)(1 - p);
    float[] _sorted = [];
    int[] _ids = [];

    /// <inheritdoc/>
    public void Apply(ReadOnlySpan<int> tokens, Span<float> logits)
    {
        if (_sorted.Length < logits.Length)
        {
            (_sorted, _ids) = (new float[logits.Length], new int[logits.Length]);
        }

        // What an earlier processor dropped has no probability and need not be sorted.
        int count = 0;
        for (int i = 0; i < logits.Length; i++)
        {
            if (logits[i] > float.NegativeInfinity)
            {
                (_sorted[count], _ids[count]) = (logits[i], i);
                count++;
            }
        }

        Span<float> sorted = _sorted.AsSpan(0, count);
        Span<int> ids = _ids.AsSpan(0, count);
        sorted.Sort(ids);
        double sum = 0, cumulative = 0;
        foreach (float logit in sorted)
        {
            sum += MathF.Exp(logit - sorted[^1]);
        }

        for (int i = 0; i < count - 1; i++)
        {
            cumulative += MathF.Exp(sorted[i] - sorted[^1]) / sum;
            if ((float)cumulative > _dropped)
            {
                return;
            }

            logits[ids[i]] = float.NegativeInfinity;
        }
    }
}
