using System.Runtime.CompilerServices;
using OpenElm.Inference.Tiles;

namespace OpenElm.Inference.Kernels.Vectors;

/// <summary>
/// Products with <see cref="TileFormat.BF16"/> in floats: a bfloat16 is the upper half of one. One row of activations meets the
/// stored pairs; for several rows some columns become floats on the stack first.
/// </summary>
internal static unsafe class BFloat16Product<TLanes, TFloats, TInts>
    where TLanes : ILanes<TFloats, TInts>
    where TFloats : unmanaged
    where TInts : unmanaged
{
    const int ColumnsTogether = 128;

    /// <inheritdoc cref="TileMatMulKernel"/>
    public static void Run(in TileMatrix weight, int firstTile, int endTile, in ActivationRows x, int rows, float* y, long yStride, bool add)
    {
        int step = rows == 1 ? 4 : 2, end = endTile * TileFormats.Rows / TLanes.Count;
        float* scratch = stackalloc float[2 * 16 * ColumnsTogether];
        for (int i = firstTile * TileFormats.Rows / TLanes.Count; i < end; i += step)
        {
            // Behind the last register the last is computed again: the same sum is written twice.
            (int i1, int i2, int i3) = (Math.Min(i + 1, end - 1), Math.Min(i + 2, end - 1), Math.Min(i + 3, end - 1));
            if (rows == 1)
            {
                Row(W(weight, i), W(weight, i1), W(weight, i2), W(weight, i3), (float*)x.Address, weight.Columns, Y(i), Y(i1), Y(i2), Y(i3), add);
                continue;
            }

            for (int column = 0; column < weight.Columns; column += ColumnsTogether)
            {
                int count = Math.Min(ColumnsTogether, weight.Columns - column);
                Unpack(W(weight, i) + (column * 32), W(weight, i1) + (column * 32), count, scratch);
                FloatProduct<TLanes, TFloats, TInts>.Rows(
                    scratch, scratch + TLanes.Count, 2 * TLanes.Count, (float*)x.Address + column, x.Stride / sizeof(float), rows, count, Y(i), Y(i1), yStride, add || column > 0);
            }
        }

        static byte* W(in TileMatrix weight, int register) => weight.Tile(register * TLanes.Count / TileFormats.Rows) + (register * TLanes.Count % TileFormats.Rows * 4);

        float* Y(int register) => y + (register * TLanes.Count);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void Row(byte* w0, byte* w1, byte* w2, byte* w3, float* x, int columns, float* y0, float* y1, float* y2, float* y3, bool add)
    {
        TFloats s0 = Begin(y0, add), s1 = Begin(y1, add), s2 = Begin(y2, add), s3 = Begin(y3, add);
        long at = 0;
        for (int c = 0; c + 2 <= columns; c += 2, at += 64)
        {
            TFloats even = TLanes.Broadcast(x[c]), odd = TLanes.Broadcast(x[c + 1]);
            TInts p0 = TLanes.Load(w0 + at), p1 = TLanes.Load(w1 + at), p2 = TLanes.Load(w2 + at), p3 = TLanes.Load(w3 + at);
            (s0, s1, s2, s3) = (TLanes.MultiplyAdd(even, Even(p0), s0), TLanes.MultiplyAdd(even, Even(p1), s1), TLanes.MultiplyAdd(even, Even(p2), s2), TLanes.MultiplyAdd(even, Even(p3), s3));
            (s0, s1, s2, s3) = (TLanes.MultiplyAdd(odd, Odd(p0), s0), TLanes.MultiplyAdd(odd, Odd(p1), s1), TLanes.MultiplyAdd(odd, Odd(p2), s2), TLanes.MultiplyAdd(odd, Odd(p3), s3));
        }

        if (columns % 2 == 1)
        {
            TFloats last = TLanes.Broadcast(x[columns - 1]);
            s0 = TLanes.MultiplyAdd(last, Even(TLanes.Load(w0 + at)), s0);
            s1 = TLanes.MultiplyAdd(last, Even(TLanes.Load(w1 + at)), s1);
            s2 = TLanes.MultiplyAdd(last, Even(TLanes.Load(w2 + at)), s2);
            s3 = TLanes.MultiplyAdd(last, Even(TLanes.Load(w3 + at)), s3);
        }

        TLanes.Store(s0, y0);
        TLanes.Store(s1, y1);
        TLanes.Store(s2, y2);
        TLanes.Store(s3, y3);
    }

    // to[c] = two registers of floats.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void Unpack(byte* w0, byte* w1, int columns, float* to)
    {
        for (int c = 0; c < columns; c += 2, w0 += 64, w1 += 64, to += 4 * TLanes.Count) // an odd last column has its partner too
        {
            TInts p0 = TLanes.Load(w0), p1 = TLanes.Load(w1);
            TLanes.Store(Even(p0), to);
            TLanes.Store(Even(p1), to + TLanes.Count);
            TLanes.Store(Odd(p0), to + (2 * TLanes.Count));
            TLanes.Store(Odd(p1), to + (3 * TLanes.Count));
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static TFloats Even(TInts pairs) => TLanes.AsFloats(TLanes.ShiftLeft(pairs, 16));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static TFloats Odd(TInts pairs) => TLanes.AsFloats(TLanes.And(pairs, TLanes.Broadcast(unchecked((int)0xFFFF0000))));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static TFloats Begin(float* y, bool add) => add ? TLanes.Load(y) : default;
}
