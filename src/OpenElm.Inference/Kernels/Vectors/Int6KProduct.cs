using System.Runtime.CompilerServices;
using OpenElm.Inference.Tiles;

namespace OpenElm.Inference.Kernels.Vectors;

/// <summary>Products with <see cref="TileFormat.Int6K"/>: as <see cref="IntegerProduct{TLanes, TFloats, TInts, TBlocks}"/>, but with a scale for every 16 columns.</summary>
internal static unsafe class Int6KProduct<TLanes, TFloats, TInts>
    where TLanes : ILanes<TFloats, TInts>
    where TFloats : unmanaged
    where TInts : unmanaged
{
    /// <inheritdoc cref="TileMatMulKernel"/>
    public static void Run(in TileMatrix weight, int firstTile, int endTile, in ActivationRows x, int rows, float* y, long yStride, bool add) =>
        TileSums.Run(weight, firstTile, endTile, x, rows, y, yStride, add, &Add);

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void Add(byte* tile, int columns, byte* x, long xStride, int rows, float* sums)
    {
        float* scales = stackalloc float[16 * TileFormats.Rows];
        for (int block = 0; block < columns / 32; block++, x += sizeof(ActivationBlock))
        {
            if (block % 8 == 0)
            {
                Scales(tile + (block / 8 * 3392), scales);
            }

            byte* super = tile + (block / 8 * 3392);
            byte* half = super + 320 + (block % 8 / 4 * 1536);
            byte* lower = half + (block % 2 * 64);
            int lowerShift = block % 4 / 2 * 4, upperShift = block % 4 * 2;
            for (int lane = 0; lane < TileFormats.Rows; lane += TLanes.Count)
            {
                TFloats scale0 = TLanes.Load(scales + (block % 8 * 32) + lane), scale1 = TLanes.Load(scales + (block % 8 * 32) + 16 + lane);
                TInts q0 = Group(0), q1 = Group(1), q2 = Group(2), q3 = Group(3), q4 = Group(4), q5 = Group(5), q6 = Group(6), q7 = Group(7);
                byte* row = x;
                float* sum = sums + lane;
                for (int t = 0; t < rows; t++, row += xStride, sum += TileFormats.Rows)
                {
                    var activations = (ActivationBlock*)row;
                    TInts first = Sum(q0, q1, q2, q3, (int*)row), second = Sum(q4, q5, q6, q7, (int*)row + 4);
                    TFloats y = TLanes.Load(sum);
                    y = TLanes.MultiplyAdd(TLanes.ToFloats(TLanes.Add(first, TLanes.Broadcast(activations->Start))), TLanes.Multiply(scale0, TLanes.Broadcast(activations->Scale)), y);
                    y = TLanes.MultiplyAdd(TLanes.ToFloats(TLanes.Add(second, TLanes.Broadcast(activations->SecondStart))), TLanes.Multiply(scale1, TLanes.Broadcast(activations->Scale)), y);
                    TLanes.Store(y, sum);
                }

                [MethodImpl(MethodImplOptions.AggressiveInlining)]
                TInts Group(int group)
                {
                    TInts low = TLanes.And(TLanes.ShiftRight(TLanes.Load(lower + (group * 192) + (lane * 4)), lowerShift), TLanes.Broadcast(0x0F0F0F0F));
                    TInts high = TLanes.And(TLanes.ShiftRight(TLanes.Load(half + 128 + (group * 192) + (lane * 4)), upperShift), TLanes.Broadcast(0x03030303));
                    return TLanes.Or(low, TLanes.ShiftLeft(high, 4));
                }
            }
        }
    }

    // scales[group][16]
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static void Scales(byte* super, float* scales)
    {
        for (int lane = 0; lane < TileFormats.Rows; lane += TLanes.Count)
        {
            TFloats d = TLanes.LoadHalves(super + (lane * 2));
            for (int at = lane; at < 16 * TileFormats.Rows; at += TileFormats.Rows)
            {
                TLanes.Store(TLanes.Multiply(d, TLanes.LoadSignedBytes(super + 64 + at)), scales + at);
            }
        }
    }

    // 16 columns; two products of 6 bits fit into 16 bits, four do not.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static TInts Sum(TInts q0, TInts q1, TInts q2, TInts q3, int* four)
    {
        TInts first = TLanes.AddProducts(TLanes.Products(q0, TLanes.Broadcast(four[0])), q1, TLanes.Broadcast(four[1]));
        TInts second = TLanes.AddProducts(TLanes.Products(q2, TLanes.Broadcast(four[2])), q3, TLanes.Broadcast(four[3]));
        return TLanes.Add(TLanes.Sum(first), TLanes.Sum(second));
    }
}
