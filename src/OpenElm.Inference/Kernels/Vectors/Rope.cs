using System.Numerics;
using System.Runtime.CompilerServices;

namespace OpenElm.Inference.Kernels.Vectors;

internal static class Rope
{
    /// <inheritdoc cref="RopeKernel"/>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Run(Span<float> heads, ReadOnlySpan<float> cos, ReadOnlySpan<float> sin)
    {
        int half = cos.Length;
        for (int start = 0; start < heads.Length; start += 2 * half)
        {
            Rotate(heads.Slice(start, half), heads.Slice(start + half, half), cos, sin);
        }
    }

    static void Rotate(Span<float> first, Span<float> second, ReadOnlySpan<float> cos, ReadOnlySpan<float> sin)
    {
        int k = 0;
        for (; k + Vector<float>.Count <= first.Length; k += Vector<float>.Count)
        {
            Vector<float> a = new(first[k..]), b = new(second[k..]), c = new(cos[k..]), s = new(sin[k..]);
            ((a * c) - (b * s)).CopyTo(first[k..]);
            ((b * c) + (a * s)).CopyTo(second[k..]);
        }

        for (; k < first.Length; k++)
        {
            (float a, float b) = (first[k], second[k]);
            first[k] = (a * cos[k]) - (b * sin[k]);
            second[k] = (b * cos[k]) + (a * sin[k]);
        }
    }
}
