using System.Runtime.CompilerServices;
using OpenElm.Inference.Tiles;

namespace OpenElm.Inference.Kernels.Vectors;

/// <summary>
/// Products with tiles of integers. A block's quants of one register of rows are unpacked once and meet up to
/// <see cref="TileSums.RowsTogether"/> rows of activations; the sums of those lie on the stack, in the first cache.
/// </summary>
internal static unsafe class IntegerProduct<TLanes, TFloats, TInts, TBlocks>
    where TLanes : ILanes<TFloats, TInts>
    where TFloats : unmanaged
    where TInts : unmanaged
    where TBlocks : IBlocks<TFloats, TInts>
{
    /// <inheritdoc cref="TileMatMulKernel"/>
    public static void Run(in TileMatrix weight, int firstTile, int endTile, in ActivationRows x, int rows, float* y, long yStride, bool add) =>
        TileSums.Run(weight, firstTile, endTile, x, rows, y, yStride, add, TBlocks.WholeBytes && !TLanes.AddsWholeBytes ? &AddHalves : &Add);

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void Add(byte* tile, int columns, byte* x, long xStride, int rows, float* sums)
    {
        float* scales = stackalloc float[TBlocks.PacksScales ? 2 * 8 * TileFormats.Rows : 0];
        byte* first = TBlocks.Quants(tile);
        for (int block = 0; block < columns / 32; block++, x += sizeof(ActivationBlock))
        {
            if (TBlocks.PacksScales && block % 8 == 0)
            {
                TBlocks.Unpack(tile, block, scales);
            }

            for (int lane = 0; lane < TileFormats.Rows; lane += TLanes.Count)
            {
                TFloats scale = TBlocks.Scale(tile, block, lane, scales), min = TBlocks.Min(tile, block, lane, scales);
                byte* quants = TBlocks.Block(first, block) + (lane * 4);
                TInts q0 = TBlocks.Group(quants, block, 0), q1 = TBlocks.Group(quants, block, 1), q2 = TBlocks.Group(quants, block, 2), q3 = TBlocks.Group(quants, block, 3);
                TInts q4 = TBlocks.Group(quants, block, 4), q5 = TBlocks.Group(quants, block, 5), q6 = TBlocks.Group(quants, block, 6), q7 = TBlocks.Group(quants, block, 7);
                byte* row = x;
                float* sum = sums + lane;
                for (int t = 0; t < rows; t++, row += xStride, sum += TileFormats.Rows)
                {
                    int* four = (int*)row;
                    TInts a = TLanes.AddProducts(TLanes.Products(q0, TLanes.Broadcast(four[0])), q1, TLanes.Broadcast(four[1]));
                    TInts b = TLanes.AddProducts(TLanes.Products(q2, TLanes.Broadcast(four[2])), q3, TLanes.Broadcast(four[3]));
                    TInts c = TLanes.AddProducts(TLanes.Products(q4, TLanes.Broadcast(four[4])), q5, TLanes.Broadcast(four[5]));
                    TInts d = TLanes.AddProducts(TLanes.Products(q6, TLanes.Broadcast(four[6])), q7, TLanes.Broadcast(four[7]));
                    TInts s = TLanes.Join(TLanes.Join(a, b), TLanes.Join(c, d));
                    Finish(TLanes.Sum(s), (ActivationBlock*)row, scale, min, sum);
                }
            }
        }
    }

    // q = 16 · upper half + lower half.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void AddHalves(byte* tile, int columns, byte* x, long xStride, int rows, float* sums)
    {
        float* scales = stackalloc float[TBlocks.PacksScales ? 2 * 8 * TileFormats.Rows : 0];
        byte* first = TBlocks.Quants(tile);
        for (int block = 0; block < columns / 32; block++, x += sizeof(ActivationBlock))
        {
            if (TBlocks.PacksScales && block % 8 == 0)
            {
                TBlocks.Unpack(tile, block, scales);
            }

            for (int lane = 0; lane < TileFormats.Rows; lane += TLanes.Count)
            {
                TFloats scale = TBlocks.Scale(tile, block, lane, scales), min = TBlocks.Min(tile, block, lane, scales);
                byte* quants = TBlocks.Block(first, block) + (lane * 4);
                TInts q0 = TBlocks.Group(quants, block, 0), q1 = TBlocks.Group(quants, block, 1), q2 = TBlocks.Group(quants, block, 2), q3 = TBlocks.Group(quants, block, 3);
                TInts q4 = TBlocks.Group(quants, block, 4), q5 = TBlocks.Group(quants, block, 5), q6 = TBlocks.Group(quants, block, 6), q7 = TBlocks.Group(quants, block, 7);
                TInts l0 = Lower(q0), l1 = Lower(q1), l2 = Lower(q2), l3 = Lower(q3), l4 = Lower(q4), l5 = Lower(q5), l6 = Lower(q6), l7 = Lower(q7);
                TInts u0 = Upper(q0), u1 = Upper(q1), u2 = Upper(q2), u3 = Upper(q3), u4 = Upper(q4), u5 = Upper(q5), u6 = Upper(q6), u7 = Upper(q7);
                byte* row = x;
                float* sum = sums + lane;
                for (int t = 0; t < rows; t++, row += xStride, sum += TileFormats.Rows)
                {
                    int* four = (int*)row;
                    TInts v0 = TLanes.Broadcast(four[0]), v1 = TLanes.Broadcast(four[1]), v2 = TLanes.Broadcast(four[2]), v3 = TLanes.Broadcast(four[3]);
                    TInts lower = TLanes.Join(
                        TLanes.AddProducts(TLanes.Products(l0, v0), l1, v1),
                        TLanes.AddProducts(TLanes.Products(l2, v2), l3, v3));
                    TInts upper = TLanes.Join(
                        TLanes.AddProducts(TLanes.Products(u0, v0), u1, v1),
                        TLanes.AddProducts(TLanes.Products(u2, v2), u3, v3));
                    (v0, v1, v2, v3) = (TLanes.Broadcast(four[4]), TLanes.Broadcast(four[5]), TLanes.Broadcast(four[6]), TLanes.Broadcast(four[7]));
                    lower = TLanes.Join(lower, TLanes.Join(
                        TLanes.AddProducts(TLanes.Products(l4, v0), l5, v1),
                        TLanes.AddProducts(TLanes.Products(l6, v2), l7, v3)));
                    upper = TLanes.Join(upper, TLanes.Join(
                        TLanes.AddProducts(TLanes.Products(u4, v0), u5, v1),
                        TLanes.AddProducts(TLanes.Products(u6, v2), u7, v3)));
                    Finish(TLanes.Add(TLanes.Sum(lower), TLanes.ShiftLeft(TLanes.Sum(upper), 4)), (ActivationBlock*)row, scale, min, sum);
                }
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static TInts Lower(TInts q) => TLanes.And(q, TLanes.Broadcast(0x0F0F0F0F));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static TInts Upper(TInts q) => TLanes.And(TLanes.ShiftRight(q, 4), TLanes.Broadcast(0x0F0F0F0F));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static void Finish(TInts s, ActivationBlock* x, TFloats scale, TFloats min, float* sum)
    {
        TFloats y = TLanes.MultiplyAdd(TLanes.ToFloats(TLanes.Add(s, TLanes.Broadcast(x->Start))), TLanes.Multiply(scale, TLanes.Broadcast(x->Scale)), TLanes.Load(sum));
        if (TBlocks.HasMin)
        {
            y = TLanes.MultiplyAdd(min, TLanes.Broadcast(x->ScaledSum), y);
        }

        TLanes.Store(y, sum);
    }
}
