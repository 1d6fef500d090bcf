using System.Numerics;

namespace OpenElm.Inference.Kernels.Simd;

internal static class Attention
{
    /// <inheritdoc cref="AttentionKernel"/>
    public static void Run(ReadOnlySpan<float> query, ReadOnlySpan<float> keys, ReadOnlySpan<float> values, Span<float> scores, Span<float> y)
    {
        int headDim = query.Length;
        float scale = 1 / MathF.Sqrt(headDim), largest = float.NegativeInfinity;
        for (int p = 0; p < scores.Length; p++)
        {
            scores[p] = MatMul.Dot(query, keys.Slice(p * headDim, headDim)) * scale;
            largest = MathF.Max(largest, scores[p]);
        }

        float sum = ExpAndSum(scores, largest);
        y.Clear();
        for (int p = 0; p < scores.Length; p++)
        {
            AddScaled(y, values.Slice(p * headDim, headDim), scores[p] / sum);
        }
    }

    // scores = e^(scores − largest); returns their sum.
    static float ExpAndSum(Span<float> scores, float largest)
    {
        Vector<float> shift = new(largest), sums = Vector<float>.Zero;
        int i = 0;
        for (; i + Vector<float>.Count <= scores.Length; i += Vector<float>.Count)
        {
            Vector<float> e = Vector.Exp(new Vector<float>(scores[i..]) - shift);
            e.CopyTo(scores[i..]);
            sums += e;
        }

        float sum = Vector.Sum(sums);
        for (; i < scores.Length; i++)
        {
            sum += scores[i] = MathF.Exp(scores[i] - largest);
        }

        return sum;
    }

    static void AddScaled(Span<float> y, ReadOnlySpan<float> x, float factor)
    {
        var factors = new Vector<float>(factor);
        int i = 0;
        for (; i + Vector<float>.Count <= y.Length; i += Vector<float>.Count)
        {
            Vector.FusedMultiplyAdd(new Vector<float>(x[i..]), factors, new Vector<float>(y[i..])).CopyTo(y[i..]);
        }

        for (; i < y.Length; i++)
        {
            y[i] = MathF.FusedMultiplyAdd(x[i], factor, y[i]);
        }
    }
}
