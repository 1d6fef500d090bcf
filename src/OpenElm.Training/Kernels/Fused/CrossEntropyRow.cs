using System.Numerics;

namespace OpenElm.Training.Kernels.Fused;

/// <summary>The loss of one row of logits and, in place, its gradient.</summary>
/// <remarks>
/// With L = logsumexp and p = softmax: the loss is L − (1 − s)·logit[target] − s·mean(logits), the gradient
/// p·pScale − onehot·(1 − s)·share − s·share/vocab, where pScale = share · (1 + 2cL), share = 1/valid targets, c the z-loss's factor.
/// </remarks>
internal static class CrossEntropyRow
{
    /// <summary>Turns logits into e^(logit − max) and measures them.</summary>
    /// <param name="logits">[vocab], overwritten.</param>
    /// <param name="wantsMean">Whether the mean is needed.</param>
    /// <returns>logsumexp, the sum of the exponentials, and the mean of the logits (0 if not wanted).</returns>
    public static (double LogSumExp, double Sum, double Mean) Exponentiate(Span<float> logits, bool wantsMean)
    {
        int lanes = Vector<float>.Count, i = 0;
        Vector<float> largest = new(float.NegativeInfinity);
        for (; i <= logits.Length - lanes; i += lanes)
        {
            largest = Vector.Max(largest, new Vector<float>(logits[i..]));
        }

        float max = float.NegativeInfinity;
        for (int lane = 0; lane < lanes; lane++)
        {
            max = MathF.Max(max, largest[lane]);
        }

        for (; i < logits.Length; i++)
        {
            max = MathF.Max(max, logits[i]);
        }

        double mean = wantsMean ? Mean(logits) : 0;
        double sum = 0;
        Vector<float> shift = new(max);
        for (i = 0; i <= logits.Length - (4 * lanes);)
        {
            // Blocks are summed in single precision and added in double: as exact as a pairwise sum.
            Vector<float> block = Vector<float>.Zero;
            for (int end = Math.Min(logits.Length - (4 * lanes), i + (64 * lanes)); i <= end; i += 4 * lanes)
            {
                Vector<float> a = Vector.Exp(new Vector<float>(logits[i..]) - shift), b = Vector.Exp(new Vector<float>(logits[(i + lanes)..]) - shift);
                Vector<float> c = Vector.Exp(new Vector<float>(logits[(i + (2 * lanes))..]) - shift), d = Vector.Exp(new Vector<float>(logits[(i + (3 * lanes))..]) - shift);
                a.CopyTo(logits[i..]);
                b.CopyTo(logits[(i + lanes)..]);
                c.CopyTo(logits[(i + (2 * lanes))..]);
                d.CopyTo(logits[(i + (3 * lanes))..]);
                block += a + b + (c + d);
            }

            sum += Vector.Sum(block);
        }

        for (; i < logits.Length; i++)
        {
            logits[i] = MathF.Exp(logits[i] - max);
            sum += logits[i];
        }

        return (max + Math.Log(sum), sum, mean);
    }

    /// <summary>values · factor + offset, in place.</summary>
    /// <param name="values">[vocab].</param>
    /// <param name="factor">The factor.</param>
    /// <param name="offset">The offset.</param>
    public static void Scale(Span<float> values, float factor, float offset)
    {
        int i = 0;
        Vector<float> added = new(offset);
        for (; i <= values.Length - Vector<float>.Count; i += Vector<float>.Count)
        {
            ((new Vector<float>(values[i..]) * factor) + added).CopyTo(values[i..]);
        }

        for (; i < values.Length; i++)
        {
            values[i] = (values[i] * factor) + offset;
        }
    }

    static double Mean(ReadOnlySpan<float> values)
    {
        double sum = 0;
        foreach (float value in values)
        {
            sum += value;
        }

        return sum / values.Length;
    }
}
