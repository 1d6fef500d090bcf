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

        Pack(source.DType, row, matrix.Columns, matrix.Tile(tile));
        GC.KeepAlive(zeros);
    }

    static void Pack(DType dtype, byte** row, int columns, byte* tile)
    {
        switch (dtype)
        {
            case DType.F32:
                Words(row, 0, columns, 0, (uint*)tile);
                break;
            case DType.F16 or DType.F64:
                for (int lane = 0; lane < Lanes; lane++)
                {
                    for (int c = 0; c < columns; c++)
                    {
                        ((float*)tile)[(c * Lanes) + lane] = dtype == DType.F16 ? (float)((Half*)row[lane])[c] : (float)((double*)row[lane])[c];
                    }
                }

                break;
            case DType.BF16:
                Words(row, 0, columns / 2, 0, (uint*)tile);
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
                    Words(row, at + 2, words, flip, (uint*)(tile + format.QuantsAt(block)));
                }

                break;
            case DType.Q4_K:
                for (int block = 0; block < columns / 256; block++)
                {
                    byte* to = tile + (block * 2368);
                    int at = block * 144;
                    Halves(row, at, (ushort*)to);
                    Halves(row, at + 2, (ushort*)to + Lanes);
                    for (int lane = 0; lane < Lanes; lane++)
                    {
                        for (int group = 0; group < 8; group++)
                        {
                            (to[64 + (group * Lanes) + lane], to[192 + (group * Lanes) + lane]) = ScaleAndMin(row[lane] + at + 4, group);
                        }
                    }

                    Words(row, at + 16, 32, 0, (uint*)(to + 320));
                }

                break;
            case DType.Q6_K:
                for (int block = 0; block < columns / 256; block++)
                {
                    byte* to = tile + (block * 3392);
                    int at = block * 210;
                    Halves(row, at + 208, (ushort*)to);
                    for (int lane = 0; lane < Lanes; lane++)
                    {
                        for (int group = 0; group < 16; group++)
                        {
                            to[64 + (group * Lanes) + lane] = row[lane][at + 192 + group];
                        }
                    }

                    for (int half = 0; half < 2; half++)
                    {
                        var triples = (uint*)(to + 320 + (half * 1536));
                        Words(row, at + (half * 64), 8, 0, triples, 3);
                        Words(row, at + (half * 64) + 32, 8, 0, triples + Lanes, 3);
                        Words(row, at + 128 + (half * 32), 8, 0, triples + (2 * Lanes), 3);
                    }
                }

                break;
            default:
                for (int lane = 0; lane < Lanes; lane++)
                {
                    Affine(dtype, row[lane], columns, tile, lane);
                }

                break;
        }
    }

    // to[w · step][lane] = the w-th word of the lane's row. 8 words of a row at a time, so that a cache line is read once.
    static void Words(byte** row, int at, int words, uint flip, uint* to, int step = 1)
    {
        for (int first = 0; first < words; first += 8)
        {
            int end = Math.Min(words, first + 8);
            for (int lane = 0; lane < Lanes; lane++)
            {
                uint* from = (uint*)(row[lane] + at);
                for (int w = first; w < end; w++)
                {
                    to[(w * step * Lanes) + lane] = from[w] ^ flip;
                }
            }
        }
    }

    static void Halves(byte** row, int at, ushort* to)
    {
        for (int lane = 0; lane < Lanes; lane++)
        {
            to[lane] = *(ushort*)(row[lane] + at);
        }
    }

    // The 6-bit scale and min of a group of a K block, from its 12 bytes.
    static (byte Scale, byte Min) ScaleAndMin(byte* packed, int group) => group < 4
        ? ((byte)(packed[group] & 63), (byte)(packed[group + 4] & 63))
        : ((byte)((packed[group + 4] & 15) | (packed[group - 4] >> 6 << 4)), (byte)((packed[group + 4] >> 4) | (packed[group] >> 6 << 4)));

    // One row of any other block format, as bytes with a float scale and minimum per 32 columns.
    static void Affine(DType dtype, byte* row, int columns, byte* tile, int lane)
    {
        Span<byte> q = stackalloc byte[32];
        for (int block = 0; block < columns / 32; block++)
        {
            byte* to = tile + (block * 640);
            (((float*)to)[lane], ((float*)to)[Lanes + lane]) = Unpack(dtype, row, block, q);
            for (int c = 0; c < 32; c++)
            {
                to[128 + (c / 4 * 64) + (lane * 4) + (c % 4)] = q[c];
            }
        }
    }

    static (float Scale, float Min) Unpack(DType dtype, byte* row, int block, Span<byte> q)
    {
        byte* from = row + (block * 32 / dtype.BlockElements() * dtype.BlockBytes());
        switch (dtype)
        {
            case DType.Q4_1:
                Nibbles(from + 4, q);
                return (Half(from), Half(from + 2));
            case DType.Q5_0:
                Nibbles(from + 6, q);
                FifthBits(*(uint*)(from + 2), q);
                return (Half(from), -16 * Half(from));
            case DType.Q5_1:
                Nibbles(from + 8, q);
                FifthBits(*(uint*)(from + 4), q);
                return (Half(from), Half(from + 2));
            case DType.Q5_K:
                int group = block % 8;
                for (int c = 0; c < 32; c++)
                {
                    byte pair = from[48 + (group / 2 * 32) + c];
                    q[c] = (byte)((group % 2 == 0 ? pair & 15 : pair >> 4) | ((from[16 + c] >> group & 1) << 4));
                }

                (byte scale, byte min) = ScaleAndMin(from + 4, group);
                return (Half(from) * scale, -(Half(from + 2) * min));
            default: // MLX: scale, bias, then the numbers in order, lowest bits first
                int inBlock = block * 32 % dtype.BlockElements();
                for (int c = 0; c < 32; c++)
                {
                    q[c] = dtype is DType.Affine8x32 or DType.Affine8x64 ? from[8 + inBlock + c]
                        : (byte)(from[8 + ((inBlock + c) / 2)] >> (c % 2 * 4) & 15);
                }

                return (((float*)from)[0], ((float*)from)[1]);
        }

        static float Half(byte* at) => (float)*(System.Half*)at;
    }

    static void Nibbles(byte* from, Span<byte> q)
    {
        for (int c = 0; c < 16; c++)
        {
            (q[c], q[c + 16]) = ((byte)(from[c] & 15), (byte)(from[c] >> 4));
        }
    }

    static void FifthBits(uint bits, Span<byte> q)
    {
        for (int c = 0; c < 32; c++)
        {
            q[c] |= (byte)((bits >> c & 1) << 4);
        }
    }
}
