using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace OpenElm.Inference.Kernels.Simd;

/// <summary>
/// Tiles of 4 weight rows × 3 tokens: 12 sums, 3 vectors of x and one of the weight fill the 16 registers of AVX2. Every
/// result is summed in the same order whatever tile it falls in, so a token gets the same bits alone or in a batch.
/// </summary>
internal static class MatMul
{
    /// <inheritdoc cref="MatMulKernel"/>
    public static void Run(ReadOnlySpan<float> weight, int inDim, ReadOnlySpan<float> x, Span<float> y, int yStride)
    {
        int rows = weight.Length / inDim, seq = x.Length / inDim;
        int r = 0;
        for (; r + 4 <= rows; r += 4)
        {
            ReadOnlySpan<float> w = weight.Slice(r * inDim, 4 * inDim);
            int t = 0;
            for (; t + 3 <= seq; t += 3)
            {
                Tile4x3(w, inDim, x.Slice(t * inDim, 3 * inDim), y[((t * yStride) + r)..], yStride);
            }

            for (; t < seq; t++)
            {
                Tile4x1(w, inDim, x.Slice(t * inDim, inDim), y.Slice((t * yStride) + r, 4));
            }
        }

        for (; r < rows; r++)
        {
            for (int t = 0; t < seq; t++)
            {
                y[(t * yStride) + r] = Dot(weight.Slice(r * inDim, inDim), x.Slice(t * inDim, inDim));
            }
        }
    }

    /// <summary>Σ a · b.</summary>
    /// <param name="a">[n].</param>
    /// <param name="b">[n].</param>
    /// <returns>The sum.</returns>
    public static float Dot(ReadOnlySpan<float> a, ReadOnlySpan<float> b)
    {
        ref float a0 = ref MemoryMarshal.GetReference(a), b0 = ref MemoryMarshal.GetReference(b);
        Vector<float> sum = Vector<float>.Zero;
        int i = 0;
        for (; i + Vector<float>.Count <= a.Length; i += Vector<float>.Count)
        {
            sum = Vector.FusedMultiplyAdd(Load(ref a0, i), Load(ref b0, i), sum);
        }

        return Finish(sum, a, b, i);
    }

    static void Tile4x1(ReadOnlySpan<float> w, int n, ReadOnlySpan<float> x, Span<float> y)
    {
        ref float w0 = ref MemoryMarshal.GetReference(w), x0 = ref MemoryMarshal.GetReference(x);
        Vector<float> s0 = Vector<float>.Zero, s1 = s0, s2 = s0, s3 = s0;
        int i = 0;
        for (; i + Vector<float>.Count <= n; i += Vector<float>.Count)
        {
            Vector<float> v = Load(ref x0, i);
            s0 = Vector.FusedMultiplyAdd(Load(ref w0, i), v, s0);
            s1 = Vector.FusedMultiplyAdd(Load(ref w0, n + i), v, s1);
            s2 = Vector.FusedMultiplyAdd(Load(ref w0, (2 * n) + i), v, s2);
            s3 = Vector.FusedMultiplyAdd(Load(ref w0, (3 * n) + i), v, s3);
        }

        y[0] = Finish(s0, w[..n], x, i);
        y[1] = Finish(s1, w.Slice(n, n), x, i);
        y[2] = Finish(s2, w.Slice(2 * n, n), x, i);
        y[3] = Finish(s3, w.Slice(3 * n, n), x, i);
    }

    static void Tile4x3(ReadOnlySpan<float> w, int n, ReadOnlySpan<float> x, Span<float> y, int yStride)
    {
        ref float w0 = ref MemoryMarshal.GetReference(w), x0 = ref MemoryMarshal.GetReference(x);
        Vector<float> a0 = Vector<float>.Zero, a1 = a0, a2 = a0, b0 = a0, b1 = a0, b2 = a0, c0 = a0, c1 = a0, c2 = a0, d0 = a0, d1 = a0, d2 = a0;
        int i = 0;
        for (; i + Vector<float>.Count <= n; i += Vector<float>.Count)
        {
            Vector<float> t0 = Load(ref x0, i), t1 = Load(ref x0, n + i), t2 = Load(ref x0, (2 * n) + i);
            Vector<float> row = Load(ref w0, i);
            (a0, a1, a2) = (Vector.FusedMultiplyAdd(row, t0, a0), Vector.FusedMultiplyAdd(row, t1, a1), Vector.FusedMultiplyAdd(row, t2, a2));
            row = Load(ref w0, n + i);
            (b0, b1, b2) = (Vector.FusedMultiplyAdd(row, t0, b0), Vector.FusedMultiplyAdd(row, t1, b1), Vector.FusedMultiplyAdd(row, t2, b2));
            row = Load(ref w0, (2 * n) + i);
            (c0, c1, c2) = (Vector.FusedMultiplyAdd(row, t0, c0), Vector.FusedMultiplyAdd(row, t1, c1), Vector.FusedMultiplyAdd(row, t2, c2));
            row = Load(ref w0, (3 * n) + i);
            (d0, d1, d2) = (Vector.FusedMultiplyAdd(row, t0, d0), Vector.FusedMultiplyAdd(row, t1, d1), Vector.FusedMultiplyAdd(row, t2, d2));
        }

        ReadOnlySpan<float> x1 = x.Slice(n, n), x2 = x.Slice(2 * n, n), w1 = w.Slice(n, n), w2 = w.Slice(2 * n, n), w3 = w.Slice(3 * n, n);
        x = x[..n];
        w = w[..n];
        (y[0], y[yStride], y[2 * yStride]) = (Finish(a0, w, x, i), Finish(a1, w, x1, i), Finish(a2, w, x2, i));
        (y[1], y[yStride + 1], y[(2 * yStride) + 1]) = (Finish(b0, w1, x, i), Finish(b1, w1, x1, i), Finish(b2, w1, x2, i));
        (y[2], y[yStride + 2], y[(2 * yStride) + 2]) = (Finish(c0, w2, x, i), Finish(c1, w2, x1, i), Finish(c2, w2, x2, i));
        (y[3], y[yStride + 3], y[(2 * yStride) + 3]) = (Finish(d0, w3, x, i), Finish(d1, w3, x1, i), Finish(d2, w3, x2, i));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector<float> Load(ref float start, int index) => Vector.LoadUnsafe(ref start, (nuint)index);

    // The lanes, then what is left over behind the last whole vector.
    static float Finish(Vector<float> lanes, ReadOnlySpan<float> a, ReadOnlySpan<float> b, int from)
    {
        float sum = Vector.Sum(lanes);
        for (int i = from; i < a.Length; i++)
        {
            sum = MathF.FusedMultiplyAdd(a[i], b[i], sum);
        }

        return sum;
    }
}
