using System.Numerics.Tensors;

namespace OpenElm.Inference.Sampling;

/// <summary>
/// Nucleus: with the tokens in ascending order, drops those whose cumulative probability is at most 1 − p; the likeliest
/// always stays. So it keeps the fewest likeliest tokens that together exceed p.
/// </summary>
/// <param name="p">In (0, 1].</param>
public sealed class TopP(double p) : ILogitsProcessor
{
    readonly double _dropped = 1 - p;
    float[] _weights = [];
    float[] _sorted = [];
    int[] _ids = [];

    /// <inheritdoc/>
    public void Apply(ReadOnlySpan<int> tokens, Span<float> logits)
    {
        if (_sorted.Length < logits.Length)
        {
            (_weights, _sorted, _ids) = (new float[logits.Length], new float[logits.Length], new int[logits.Length]);
        }

        Span<float> weights = _weights.AsSpan(0, logits.Length);
        logits.CopyTo(weights);
        double sum = Distribution.Weigh(weights);
        int likeliest = TensorPrimitives.IndexOfMax<float>(logits);

        // Tokens that are this unlikely are dropped even if there are no others: they need not be sorted.
        float negligible = (float)(_dropped * sum / logits.Length * 0.99);
        double cumulative = 0;
        int count = 0;
        for (int i = 0; i < logits.Length; i++)
        {
            if (weights[i] >= negligible && i != likeliest)
            {
                (_sorted[count], _ids[count]) = (weights[i], i);
                count++;
            }
            else if (i != likeliest)
            {
                cumulative += weights[i];
                logits[i] = float.NegativeInfinity;
            }
        }

        Span<float> sorted = _sorted.AsSpan(0, count);
        sorted.Sort(_ids.AsSpan(0, count));
        for (int i = 0; i < count; i++)
        {
            cumulative += sorted[i];
            if ((float)(cumulative / sum) > (float)_dropped)
            {
                return;
            }

            logits[_ids[i]] = float.NegativeInfinity;
        }
    }
}
