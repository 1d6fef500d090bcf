using OpenElm.Inference.Tiles;

namespace OpenElm.Inference.Kernels.Vectors;

/// <summary>Products with every <see cref="TileFormat"/>.</summary>
internal static unsafe class TileMatMul<TLanes, TFloats, TInts>
    where TLanes : ILanes<TFloats, TInts>
    where TFloats : unmanaged
    where TInts : unmanaged
{
    /// <inheritdoc cref="TileMatMulKernel"/>
    public static void Run(in TileMatrix weight, int firstTile, int endTile, in ActivationRows x, int rows, float* y, long yStride, bool add)
    {
        switch (weight.Format)
        {
            case TileFormat.F32:
                FloatProduct<TLanes, TFloats, TInts>.Run(
                    (float*)weight.Tile(firstTile), TileFormats.Rows, weight.TileBytes / sizeof(float), endTile - firstTile,
                    (float*)x.Address, x.Stride / sizeof(float), rows, weight.Columns, y + (firstTile * TileFormats.Rows), yStride, add);
                break;
            case TileFormat.BF16:
                BFloat16Product<TLanes, TFloats, TInts>.Run(weight, firstTile, endTile, x, rows, y, yStride, add);
                break;
            case TileFormat.Int8:
                IntegerProduct<TLanes, TFloats, TInts, Int8Blocks<TLanes, TFloats, TInts>>.Run(weight, firstTile, endTile, x, rows, y, yStride, add);
                break;
            case TileFormat.Int4:
                IntegerProduct<TLanes, TFloats, TInts, Int4Blocks<TLanes, TFloats, TInts>>.Run(weight, firstTile, endTile, x, rows, y, yStride, add);
                break;
            case TileFormat.Int4K:
                IntegerProduct<TLanes, TFloats, TInts, Int4KBlocks<TLanes, TFloats, TInts>>.Run(weight, firstTile, endTile, x, rows, y, yStride, add);
                break;
            case TileFormat.Int6K:
                Int6KProduct<TLanes, TFloats, TInts>.Run(weight, firstTile, endTile, x, rows, y, yStride, add);
                break;
            default:
                IntegerProduct<TLanes, TFloats, TInts, Int8AffineBlocks<TLanes, TFloats, TInts>>.Run(weight, firstTile, endTile, x, rows, y, yStride, add);
                break;
        }
    }
}
