using System.Numerics;

namespace OpenElm.Inference.Kernels.Simd;

internal static class Add
{
    /// <inheritdoc cref="AddKernel"/>
    public static void Run(Span<float> x, ReadOnlySpan<float> y)
    {
        int i = 0;
        for (; i + Vector<float>.Count <= x.Length; i += Vector<float>.Count)
        {
            (new Vector<float>(x[i..]) + new Vector<float>(y[i..])).CopyTo(x[i..]);
        }

        for (; i < x.Length; i++)
        {
            x[i] += y[i];
        }
    }
}
