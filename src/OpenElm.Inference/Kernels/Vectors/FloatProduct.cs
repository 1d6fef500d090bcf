using System.Runtime.CompilerServices;
using OpenElm.Inference.Tiles;

namespace OpenElm.Inference.Kernels.Vectors;

/// <summary>
/// Products of floats. One row of activations meets four registers of weights side by side; several rows meet two, six at a
/// time: 12 sums, 2 weights and 1 activation fill the 16 registers of AVX2, and 12 sums keep two multipliers busy.
/// </summary>
internal static unsafe class FloatProduct<TLanes, TFloats, TInts>
    where TLanes : ILanes<TFloats, TInts>
    where TFloats : unmanaged
    where TInts : unmanaged
{
    /// <inheritdoc cref="FloatProductKernel"/>
    public static void Run(float* w, long wStride, long tileStride, int tiles, float* x, long xStride, int rows, int length, float* y, long yStride, bool add)
    {
        int registers = tiles * TileFormats.Rows / TLanes.Count;
        if (rows == 1)
        {
            for (int i = 0; i < registers; i += 4)
            {
                // Behind the last register the last is computed again: the same sum is written twice.
                (int i1, int i2, int i3) = (Math.Min(i + 1, registers - 1), Math.Min(i + 2, registers - 1), Math.Min(i + 3, registers - 1));
                Row(W(i), W(i1), W(i2), W(i3), wStride, x, length, Y(i), Y(i1), Y(i2), Y(i3), add);
            }

            return;
        }

        for (int i = 0; i < registers; i += 2)
        {
            int i1 = Math.Min(i + 1, registers - 1);
            Rows(W(i), W(i1), wStride, x, xStride, rows, length, Y(i), Y(i1), yStride, add);
        }

        float* W(int register) => w + (register * TLanes.Count / TileFormats.Rows * tileStride) + (register * TLanes.Count % TileFormats.Rows);

        float* Y(int register) => y + (register * TLanes.Count);
    }

    /// <summary>Two registers of weights times any number of rows.</summary>
    /// <param name="w0">The weights of one register, k by k.</param>
    /// <param name="w1">Those of another.</param>
    /// <param name="wStride">Floats from k to k + 1.</param>
    /// <param name="x">[rows, length].</param>
    /// <param name="xStride">Floats from one row of x to the next.</param>
    /// <param name="rows">Rows.</param>
    /// <param name="length">How many k.</param>
    /// <param name="y0">Where the sums of the first register go.</param>
    /// <param name="y1">Where those of the second go.</param>
    /// <param name="yStride">Floats from one row of y to the next.</param>
    /// <param name="add">Whether a sum begins with y.</param>
    public static void Rows(float* w0, float* w1, long wStride, float* x, long xStride, int rows, int length, float* y0, float* y1, long yStride, bool add)
    {
        for (int t = 0; t < rows;)
        {
            int count = rows - t;
            count = count >= 6 ? 6 : count >= 3 ? 3 : 1;
            float* row = x + (t * xStride), sum0 = y0 + (t * yStride), sum1 = y1 + (t * yStride);
            switch (count)
            {
                case 6:
                    Block<Six>(w0, w1, wStride, row, xStride, length, sum0, sum1, yStride, add);
                    break;
                case 3:
                    Block<Three>(w0, w1, wStride, row, xStride, length, sum0, sum1, yStride, add);
                    break;
                default:
                    Block<One>(w0, w1, wStride, row, xStride, length, sum0, sum1, yStride, add);
                    break;
            }

            t += count;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void Row(
        float* w0, float* w1, float* w2, float* w3, long wStride, float* x, int length, float* y0, float* y1, float* y2, float* y3, bool add)
    {
        TFloats s0 = Begin(y0, add), s1 = Begin(y1, add), s2 = Begin(y2, add), s3 = Begin(y3, add);
        long at = 0;
        for (int k = 0; k < length; k++, at += wStride)
        {
            TFloats v = TLanes.Broadcast(x[k]);
            s0 = TLanes.MultiplyAdd(v, TLanes.Load(w0 + at), s0);
            s1 = TLanes.MultiplyAdd(v, TLanes.Load(w1 + at), s1);
            s2 = TLanes.MultiplyAdd(v, TLanes.Load(w2 + at), s2);
            s3 = TLanes.MultiplyAdd(v, TLanes.Load(w3 + at), s3);
        }

        TLanes.Store(s0, y0);
        TLanes.Store(s1, y1);
        TLanes.Store(s2, y2);
        TLanes.Store(s3, y3);
    }

    // The compiler leaves out the rows that TCount lacks.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void Block<TCount>(float* w0, float* w1, long wStride, float* x, long xStride, int length, float* y0, float* y1, long yStride, bool add)
        where TCount : ICount
    {
        TFloats a0 = Begin(y0, add), b0 = Begin(y1, add), a1 = a0, b1 = b0, a2 = a0, b2 = b0, a3 = a0, b3 = b0, a4 = a0, b4 = b0, a5 = a0, b5 = b0;
        if (TCount.Value > 1)
        {
            (a1, b1) = (Begin(y0 + yStride, add), Begin(y1 + yStride, add));
            (a2, b2) = (Begin(y0 + (2 * yStride), add), Begin(y1 + (2 * yStride), add));
        }

        if (TCount.Value > 3)
        {
            (a3, b3) = (Begin(y0 + (3 * yStride), add), Begin(y1 + (3 * yStride), add));
            (a4, b4) = (Begin(y0 + (4 * yStride), add), Begin(y1 + (4 * yStride), add));
            (a5, b5) = (Begin(y0 + (5 * yStride), add), Begin(y1 + (5 * yStride), add));
        }

        float* x1 = x + xStride, x2 = x1 + xStride, x3 = x2 + xStride, x4 = x3 + xStride, x5 = x4 + xStride;
        for (int k = 0; k < length; k++, w0 += wStride, w1 += wStride)
        {
            TFloats wa = TLanes.Load(w0), wb = TLanes.Load(w1), v = TLanes.Broadcast(x[k]);
            (a0, b0) = (TLanes.MultiplyAdd(v, wa, a0), TLanes.MultiplyAdd(v, wb, b0));
            if (TCount.Value > 1)
            {
                v = TLanes.Broadcast(x1[k]);
                (a1, b1) = (TLanes.MultiplyAdd(v, wa, a1), TLanes.MultiplyAdd(v, wb, b1));
                v = TLanes.Broadcast(x2[k]);
                (a2, b2) = (TLanes.MultiplyAdd(v, wa, a2), TLanes.MultiplyAdd(v, wb, b2));
            }

            if (TCount.Value > 3)
            {
                v = TLanes.Broadcast(x3[k]);
                (a3, b3) = (TLanes.MultiplyAdd(v, wa, a3), TLanes.MultiplyAdd(v, wb, b3));
                v = TLanes.Broadcast(x4[k]);
                (a4, b4) = (TLanes.MultiplyAdd(v, wa, a4), TLanes.MultiplyAdd(v, wb, b4));
                v = TLanes.Broadcast(x5[k]);
                (a5, b5) = (TLanes.MultiplyAdd(v, wa, a5), TLanes.MultiplyAdd(v, wb, b5));
            }
        }

        Store(a0, b0, y0, y1);
        if (TCount.Value > 1)
        {
            Store(a1, b1, y0 + yStride, y1 + yStride);
            Store(a2, b2, y0 + (2 * yStride), y1 + (2 * yStride));
        }

        if (TCount.Value > 3)
        {
            Store(a3, b3, y0 + (3 * yStride), y1 + (3 * yStride));
            Store(a4, b4, y0 + (4 * yStride), y1 + (4 * yStride));
            Store(a5, b5, y0 + (5 * yStride), y1 + (5 * yStride));
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static TFloats Begin(float* y, bool add) => add ? TLanes.Load(y) : default;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static void Store(TFloats a, TFloats b, float* y0, float* y1)
    {
        TLanes.Store(a, y0);
        TLanes.Store(b, y1);
    }

    interface ICount
    {
        static abstract int Value { get; }
    }

    readonly struct One : ICount
    {
        public static int Value => 1;
    }

    readonly struct Three : ICount
    {
        public static int Value => 3;
    }

    readonly struct Six : ICount
    {
        public static int Value => 6;
    }
}
