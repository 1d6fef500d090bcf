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
    public static void Run(in TileMatrix weight, int firstTile, int endTile, in ActivationRows x, int rows, float* y, long yStride, bool add)
    {
        TileSums sums = new(stackalloc float[TileSums.Length]);
        for (int tile = firstTile; tile < endTile; tile++)
        {
            for (int first = 0; first < rows; first += TileSums.RowsTogether)
            {
                int count = Math.Min(TileSums.RowsTogether, rows - first);
                float* result = y + (first * yStride) + (tile * TileFormats.Rows);
                sums.Begin(result, yStride, count, add);
                if (TBlocks.WholeBytes && !TLanes.AddsWholeBytes)
                {
                    AddHalves(weight.Tile(tile), weight.Columns, x.Row(first), x.Stride, count, sums.Start);
                }
                else
                {
                    Add(weight.Tile(tile), weight.Columns, x.Row(first), x.Stride, count, sums.Start);
                }

                sums.Finish(result, yStride, count);
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void Add(byte* tile, int columns, byte* x, long xStride, int rows, float* sums)
    {
        byte* first = TBlocks.Quants(tile, columns);
        for (int block = 0; block < columns / 32; block++, x += sizeof(ActivationBlock))
        {
            for (int lane = 0; lane < TileFormats.Rows; lane += TLanes.Count)
            {
                TFloats scale = TBlocks.Scale(tile, block, lane), min = TBlocks.Min(tile, block, lane);
                byte* quants = TBlocks.Block(first, block) + (lane * 4);
                TInts q0 = TBlocks.Group(quants, block, 0), q1 = TBlocks.Group(quants, block, 1), q2 = TBlocks.Group(quants, block, 2), q3 = TBlocks.Group(quants, block, 3);
                TInts q4 = TBlocks.Group(quants, block, 4), q5 = TBlocks.Group(quants, block, 5), q6 = TBlocks.Group(quants, block, 6), q7 = TBlocks.Group(quants, block, 7);
                byte* row = x;
                float* sum = sums + lane;
                for (int t = 0; t < rows; t++, row += xStride, sum += TileFormats.Rows)
                {
                    int* four = (int*)row;
                    TInts s = TLanes.Products(q0, TLanes.Broadcast(four[0]));
                    s = TLanes.AddProducts(s, q1, TLanes.Broadcast(four[1]));
                    s = TLanes.AddProducts(s, q2, TLanes.Broadcast(four[2]));
                    s = TLanes.AddProducts(s, q3, TLanes.Broadcast(four[3]));
                    s = TLanes.AddProducts(s, q4, TLanes.Broadcast(four[4]));
                    s = TLanes.AddProducts(s, q5, TLanes.Broadcast(four[5]));
                    s = TLanes.AddProducts(s, q6, TLanes.Broadcast(four[6]));
                    s = TLanes.AddProducts(s, q7, TLanes.Broadcast(four[7]));
                    Finish(TLanes.Sum(s), (ActivationBlock*)row, scale, min, sum);
                }
            }
        }
    }

    // q = 16 · upper half + lower half.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void AddHalves(byte* tile, int columns, byte* x, long xStride, int rows, float* sums)
    {
        byte* first = TBlocks.Quants(tile, columns);
        for (int block = 0; block < columns / 32; block++, x += sizeof(ActivationBlock))
        {
            for (int lane = 0; lane < TileFormats.Rows; lane += TLanes.Count)
            {
                TFloats scale = TBlocks.Scale(tile, block, lane), min = TBlocks.Min(tile, block, lane);
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
                    TInts v = TLanes.Broadcast(four[0]);
                    TInts lower = TLanes.Products(l0, v), upper = TLanes.Products(u0, v);
                    v = TLanes.Broadcast(four[1]);
                    (lower, upper) = (TLanes.AddProducts(lower, l1, v), TLanes.AddProducts(upper, u1, v));
                    v = TLanes.Broadcast(four[2]);
                    (lower, upper) = (TLanes.AddProducts(lower, l2, v), TLanes.AddProducts(upper, u2, v));
                    v = TLanes.Broadcast(four[3]);
                    (lower, upper) = (TLanes.AddProducts(lower, l3, v), TLanes.AddProducts(upper, u3, v));
                    v = TLanes.Broadcast(four[4]);
                    (lower, upper) = (TLanes.AddProducts(lower, l4, v), TLanes.AddProducts(upper, u4, v));
                    v = TLanes.Broadcast(four[5]);
                    (lower, upper) = (TLanes.AddProducts(lower, l5, v), TLanes.AddProducts(upper, u5, v));
                    v = TLanes.Broadcast(four[6]);
                    (lower, upper) = (TLanes.AddProducts(lower, l6, v), TLanes.AddProducts(upper, u6, v));
                    v = TLanes.Broadcast(four[7]);
                    (lower, upper) = (TLanes.AddProducts(lower, l7, v), TLanes.AddProducts(upper, u7, v));
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
