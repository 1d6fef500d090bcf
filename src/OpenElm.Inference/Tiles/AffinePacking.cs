using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using OpenElm.Checkpoints;
using OpenElm.Inference.Kernels.Vectors;

namespace OpenElm.Inference.Tiles;

/// <summary>Blocks of every format without tiles of its own → <see cref="TileFormat.Int8Affine"/>: bytes with a float scale and minimum per 32 columns.</summary>
internal static unsafe class AffinePacking
{
    const int Lanes = TileFormats.Rows;

    /// <summary>Fills one lane of a tile.</summary>
    /// <param name="dtype">The stored type.</param>
    /// <param name="row">The stored row.</param>
    /// <param name="columns">Columns.</param>
    /// <param name="tile">The tile.</param>
    /// <param name="lane">The row of the tile.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Pack(DType dtype, byte* row, int columns, byte* tile, int lane)
    {
        int bytes = dtype.BlockBytes(), elements = dtype.BlockElements();
        for (int column = 0; column < columns; column += 32, tile += 640)
        {
            byte* from = row + (column / elements * bytes);
            (((float*)tile)[lane], ((float*)tile)[Lanes + lane], Vector128<byte> first, Vector128<byte> second) = Unpack(dtype, from, column % elements);
            Scatter(first.AsUInt32(), (uint*)(tile + 128) + lane);
            Scatter(second.AsUInt32(), (uint*)(tile + 128) + (4 * Lanes) + lane);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static void Scatter(Vector128<uint> words, uint* to)
    {
        to[0] = words[0];
        to[Lanes] = words[1];
        to[2 * Lanes] = words[2];
        to[3 * Lanes] = words[3];
    }

    // 32 columns of a block: scale, minimum, and the numbers of the first and second 16.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static (float Scale, float Min, Vector128<byte> First, Vector128<byte> Second) Unpack(DType dtype, byte* from, int inBlock)
    {
        (float d, float m) = (Lanes128.LoadHalves(from)[0], Lanes128.LoadHalves(from)[1]); // of GGUF's formats
        Vector128<byte> pairs;
        switch (dtype)
        {
            case DType.Q4_1:
                pairs = Vector128.Load(from + 4);
                return (d, m, pairs & Low, pairs >>> 4);
            case DType.Q5_0:
                pairs = Vector128.Load(from + 6);
                return (d, -16 * d, (pairs & Low) | FifthBits(*(ushort*)(from + 2)), (pairs >>> 4) | FifthBits(*(ushort*)(from + 4)));
            case DType.Q5_1:
                pairs = Vector128.Load(from + 8);
                return (d, m, (pairs & Low) | FifthBits(*(ushort*)(from + 4)), (pairs >>> 4) | FifthBits(*(ushort*)(from + 6)));
            case DType.Q5_K:
                int group = inBlock / 32;
                (byte scale, byte min) = KGroupScales.Of(from + 4).Group(group);
                byte* low = from + 48 + (group / 2 * 32), high = from + 16;
                return (d * scale, -(m * min), Five(low, high, group), Five(low + 16, high + 16, group));
            case DType.Affine8x32 or DType.Affine8x64:
                return (((float*)from)[0], ((float*)from)[1], Vector128.Load(from + 8 + inBlock), Vector128.Load(from + 8 + inBlock + 16));
            default: // MLX of 4 bits: neighbours share a byte, the first in its lower half
                pairs = Vector128.Load(from + 8 + (inBlock / 2));
                return (((float*)from)[0], ((float*)from)[1], Neighbours(Vector128.WidenLower(pairs)), Neighbours(Vector128.WidenUpper(pairs)));
        }
    }

    static Vector128<byte> Low => Vector128.Create((byte)15);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector128<byte> Neighbours(Vector128<ushort> pairs) => (pairs | (pairs << 4)).AsByte() & Low;

    // 16 where a bit is set.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector128<byte> FifthBits(ushort bits)
    {
        Vector128<byte> bit = Vector128.Create(0x8040201008040201).AsByte();
        Vector128<byte> spread = Vector128.Shuffle(Vector128.Create(bits).AsByte(), Vector128.Create((byte)0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1));
        return Vector128.Equals(spread & bit, bit) & Vector128.Create((byte)16);
    }

    // Of a group of Q5_K: 4 bits of one byte, one of another.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector128<byte> Five(byte* low, byte* high, int group)
    {
        Vector128<byte> pairs = Vector128.Load(low);
        Vector128<byte> fifth = (Vector128.Load(high) >>> group) & Vector128<byte>.One;
        return (group % 2 == 0 ? pairs & Low : pairs >>> 4) | (fifth << 4);
    }
}
