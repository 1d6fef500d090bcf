using OpenElm.Inference.Tiles;

namespace OpenElm.Inference.Kernels.Vectors;

/// <summary>
/// The sums of one tile and some rows of activations, row by row without a gap: in y itself they could lie 4096 bytes
/// apart and compete for one set of the cache.
/// </summary>
internal readonly unsafe ref struct TileSums
{
    /// <summary>Rows of activations that meet a block while it is unpacked.</summary>
    public const int RowsTogether = 16;

    const int Alignment = 64;

    /// <summary>Makes room on the caller's stack.</summary>
    /// <param name="room">[<see cref="Length"/>], on the stack.</param>
    public TileSums(Span<float> room)
    {
        fixed (float* start = room) // on the stack: it does not move
        {
            Start = (float*)(((nint)start + Alignment - 1) & ~(Alignment - 1));
        }
    }

    /// <summary>Floats that the caller allocates.</summary>
    public static int Length => (RowsTogether * TileFormats.Rows) + (Alignment / sizeof(float));

    /// <summary>[<see cref="RowsTogether"/>, 16].</summary>
    public float* Start { get; }

    /// <summary>Sets the first rows to 0, or to y.</summary>
    public void Begin(float* y, long yStride, int rows, bool add)
    {
        for (int t = 0; t < rows; t++)
        {
            Span<float> sums = Row(t);
            if (add)
            {
                new Span<float>(y + (t * yStride), TileFormats.Rows).CopyTo(sums);
            }
            else
            {
                sums.Clear();
            }
        }
    }

    /// <summary>Writes the first rows to y.</summary>
    public void Finish(float* y, long yStride, int rows)
    {
        for (int t = 0; t < rows; t++)
        {
            Row(t).CopyTo(new Span<float>(y + (t * yStride), TileFormats.Rows));
        }
    }

    Span<float> Row(int t) => new(Start + (t * TileFormats.Rows), TileFormats.Rows);
}
