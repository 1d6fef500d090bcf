using OpenElm.Inference.Tiles;

namespace OpenElm.Inference.Kernels.Vectors;

/// <summary>
/// The way through tiles and rows that all integer formats share: some rows of activations at a time meet a tile. Their sums
/// lie on the stack, row by row without a gap: in y itself they could lie 4096 bytes apart and compete for one set of the cache.
/// </summary>
internal static unsafe class TileSums
{
    /// <summary>Rows of activations that meet a block while it is unpacked.</summary>
    public const int RowsTogether = 16;

    const int Alignment = 64;

    /// <summary>A <see cref="TileMatMulKernel"/>, whose last argument adds the products of a tile: (tile, columns, x, bytes from one row of x to the next, rows, sums [rows, 16]).</summary>
    public static void Run(
        in TileMatrix weight, int firstTile, int endTile, in ActivationRows x, int rows, float* y, long yStride, bool add,
        delegate*<byte*, int, byte*, long, int, float*, void> addTile)
    {
        byte* room = stackalloc byte[(RowsTogether * TileFormats.Rows * sizeof(float)) + Alignment];
        var sums = (float*)(((nint)room + Alignment - 1) & ~(nint)(Alignment - 1));
        for (int tile = firstTile; tile < endTile; tile++)
        {
            for (int first = 0; first < rows; first += RowsTogether)
            {
                int count = Math.Min(RowsTogether, rows - first);
                float* result = y + (first * yStride) + (tile * TileFormats.Rows);
                for (int t = 0; t < count; t++)
                {
                    Span<float> begin = new(sums + (t * TileFormats.Rows), TileFormats.Rows);
                    if (add)
                    {
                        new Span<float>(result + (t * yStride), TileFormats.Rows).CopyTo(begin);
                    }
                    else
                    {
                        begin.Clear();
                    }
                }

                addTile(weight.Tile(tile), weight.Columns, x.Row(first), x.Stride, count, sums);
                for (int t = 0; t < count; t++)
                {
                    new Span<float>(sums + (t * TileFormats.Rows), TileFormats.Rows).CopyTo(new Span<float>(result + (t * yStride), TileFormats.Rows));
                }
            }
        }
    }
}
