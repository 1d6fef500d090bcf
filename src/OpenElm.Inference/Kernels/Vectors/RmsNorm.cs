using System.Numerics;
using System.Runtime.CompilerServices;

namespace OpenElm.Inference.Kernels.Vectors;

internal static class RmsNorm
{
    /// <inheritdoc cref="RmsNormKernel"/>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Run(ReadOnlySpan<float> x, ReadOnlySpan<float> weight, float eps, Span<float> y)
    {
        int width = weight.Length;
        for (int start = 0; start < x.Length; start += width)
        {
            ReadOnlySpan<float> row = x.Slice(start, width);
            Normalize(row, weight, 1 / MathF.Sqrt((SumOfSquares(row) / width) + eps), y.Slice(start, width));
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static float SumOfSquares(ReadOnlySpan<float> x)
    {
        Vector<float> sums = Vector<float>.Zero;
        int i = 0;
        for (; i + Vector<float>.Count <= x.Length; i += Vector<float>.Count)
        {
            var v = new Vector<float>(x[i..]);
            sums = Vector.FusedMultiplyAdd(v, v, sums);
        }

        float sum = Vector.Sum(sums);
        for (; i < x.Length; i++)
        {
            sum = MathF.FusedMultiplyAdd(x[i], x[i], sum);
        }

        return sum;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void Normalize(ReadOnlySpan<float> x, ReadOnlySpan<float> weight, float scale, Span<float> y)
    {
        var scales = new Vector<float>(scale);
        int i = 0;
        for (; i + Vector<float>.Count <= x.Length; i += Vector<float>.Count)
        {
            (new Vector<float>(x[i..]) * scales * new Vector<float>(weight[i..])).CopyTo(y[i..]);
        }

        for (; i < x.Length; i++)
        {
            y[i] = x[i] * scale * weight[i];
        }
    }
}
