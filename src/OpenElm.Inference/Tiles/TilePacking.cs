using System.Runtime.CompilerServices;
using OpenElm.Checkpoints;

namespace OpenElm.Inference.Tiles;

/// <summary>
/// Stored rows → tiles. Every block format keeps its bits: the 32-bit words of 16 rows change places, and 6-bit scales become
/// bytes. F16 and F64 become floats.
/// </summary>
internal static unsafe class TilePacking
{
    const int Lanes = TileFormats.Rows;

    /// <summary>Fills one tile.</summary>
    /// <param name="source">A stored matrix [more rows, columns], of a type that <see cref="TileFormats.Of"/> maps to the format.</param>
    /// <param name="firstRow">The stored row that becomes row 0 of the matrix.</param>
    /// <param name="matrix">Where to.</param>
    /// <param name="tile">The tile.</param>
    public static void Pack(TensorView source, long firstRow, in TileMatrix matrix, int tile)
    {
        long rowBytes = source.DType.ByteCount([matrix.Columns]);
        int rows = Math.Min(Lanes, matrix.Rows - (tile * Lanes));
        byte** row = stackalloc byte*[Lanes];
        byte[]? zeros = rows < Lanes ? GC.AllocateArray<byte>(checked((int)rowBytes), pinned: true) : null;
        for (int lane = 0; lane < Lanes; lane++)
        {
            row[lane] = lane < rows
                ? (byte*)source.Address + ((firstRow + (tile * Lanes) + lane) * rowBytes)
                : (byte*)Unsafe.AsPointer(ref zeros![0]);
        }

        if (source.DType != DType.F32) // its rows are long enough for the processor to see 16 streams
        {
            Touch(row[0], rows * rowBytes);
        }

        Pack(source.DType, row, matrix.Columns, matrix.Tile(tile));
        GC.KeepAlive(zeros);
    }

    // The rows come into the cache in their order, as memory is fastest: Q8_0 and Q4_0 pack in half the time.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void Touch(byte* first, long bytes)
    {
        for (long at = 0; at < bytes; at += 64)
        {
            _ = Volatile.Read(ref first[at]);
        }
    }

    static void Pack(DType dtype, byte** row, int columns, byte* tile)
    {
        switch (dtype)
        {
            case DType.F32:
                Transposition.Words(row, 0, columns, 0, (uint*)tile);
                break;
            case DType.F16:
                Transposition.Halves(row, columns, (float*)tile);
                break;
            case DType.F64:
                for (int lane = 0; lane < Lanes; lane++)
                {
                    for (int c = 0; c < columns; c++)
                    {
                        ((float*)tile)[(c * Lanes) + lane] = (float)((double*)row[lane])[c];
                    }
                }

                break;
            case DType.BF16:
                Transposition.Words(row, 0, columns / 2, 0, (uint*)tile);
                if (columns % 2 == 1)
                {
                    for (int lane = 0; lane < Lanes; lane++)
                    {
                        ((uint*)tile)[(columns / 2 * Lanes) + lane] = ((ushort*)row[lane])[columns - 1];
                    }
                }

                break;
            case DType.Q8_0 or DType.Q4_0:
                int words = dtype == DType.Q8_0 ? 8 : 4;
                uint flip = dtype == DType.Q8_0 ? 0x80808080 : 0; // signed → plus 128
                TileFormat format = TileFormats.Of(dtype);
                for (int block = 0; block < columns / 32; block++)
                {
                    int at = block * dtype.BlockBytes();
                    Halves(row, at, (ushort*)(tile + format.ScalesAt(block)));
                    Transposition.Words(row, at + 2, words, flip, (uint*)(tile + format.QuantsAt(block)));
                }

                break;
            case DType.Q4_K:
                uint* groups = stackalloc uint[4 * Lanes]; // scales 0-3 and 4-7, minimums 0-3 and 4-7 of each row
                for (int block = 0; block < columns / 256; block++)
                {
                    byte* to = tile + (block * 2368);
                    int at = block * 144;
                    Halves(row, at, (ushort*)to);
                    Halves(row, at + 2, (ushort*)to + Lanes);
                    for (int lane = 0; lane < Lanes; lane++)
                    {
                        (groups[lane], groups[Lanes + lane], groups[(2 * Lanes) + lane], groups[(3 * Lanes) + lane]) = KGroupScales.Of(row[lane] + at + 4);
                    }

                    for (int four = 0; four < 4; four++)
                    {
                        Transposition.Bytes(groups + (four * Lanes), to + 64 + (four * 4 * Lanes));
                    }

                    Transposition.Words(row, at + 16, 32, 0, (uint*)(to + 320));
                }

                break;
            case DType.Q6_K:
                uint* scales = stackalloc uint[4 * Lanes];
                for (int block = 0; block < columns / 256; block++)
                {
                    byte* to = tile + (block * 3392);
                    int at = block * 210;
                    Halves(row, at + 208, (ushort*)to);
                    Transposition.Words(row, at + 192, 4, 0, scales);
                    for (int four = 0; four < 4; four++)
                    {
                        Transposition.Bytes(scales + (four * Lanes), to + 64 + (four * 4 * Lanes));
                    }

                    for (int half = 0; half < 2; half++)
                    {
                        var triples = (uint*)(to + 320 + (half * 1536));
                        Transposition.Words(row, at + (half * 64), 8, 0, triples, 3);
                        Transposition.Words(row, at + (half * 64) + 32, 8, 0, triples + Lanes, 3);
                        Transposition.Words(row, at + 128 + (half * 32), 8, 0, triples + (2 * Lanes), 3);
                    }
                }

                break;
            default:
                for (int lane = 0; lane < Lanes; lane++)
                {
                    AffinePacking.Pack(dtype, row[lane], columns, tile, lane);
                }

                break;
        }
    }

    static void Halves(byte** row, int at, ushort* to)
    {
        for (int lane = 0; lane < Lanes; lane++)
        {
            to[lane] = *(ushort*)(row[lane] + at);
        }
    }
}
