using System.Runtime.CompilerServices;
using OpenElm.Inference.Tiles;

namespace OpenElm.Inference.Kernels.Vectors;

/// <summary><see cref="TileFormat.Int8"/>.</summary>
internal readonly unsafe struct Int8Blocks<TLanes, TFloats, TInts> : IBlocks<TFloats, TInts>
    where TLanes : ILanes<TFloats, TInts>
    where TFloats : unmanaged
    where TInts : unmanaged
{
    public static bool WholeBytes => true;

    public static bool HasMin => false;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static byte* Quants(byte* tile) => tile;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static byte* Block(byte* quants, int block) => quants + TileFormat.Int8.QuantsAt(block);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TInts Group(byte* quants, int block, int group) => TLanes.Load(quants + (group * 64));

    public static bool PacksScales => false;

    public static void Unpack(byte* tile, int first, float* scales)
    {
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TFloats Scale(byte* tile, int block, int lane, float* scales) => TLanes.LoadHalves(tile + TileFormat.Int8.ScalesAt(block) + (lane * 2));

    public static TFloats Min(byte* tile, int block, int lane, float* scales) => default;
}

/// <summary><see cref="TileFormat.Int8Affine"/>.</summary>
internal readonly unsafe struct Int8AffineBlocks<TLanes, TFloats, TInts> : IBlocks<TFloats, TInts>
    where TLanes : ILanes<TFloats, TInts>
    where TFloats : unmanaged
    where TInts : unmanaged
{
    public static bool WholeBytes => true;

    public static bool HasMin => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static byte* Quants(byte* tile) => tile + 128;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static byte* Block(byte* quants, int block) => quants + (block * 640);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TInts Group(byte* quants, int block, int group) => TLanes.Load(quants + (group * 64));

    public static bool PacksScales => false;

    public static void Unpack(byte* tile, int first, float* scales)
    {
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TFloats Scale(byte* tile, int block, int lane, float* scales) => TLanes.Load((float*)(tile + (block * 640)) + lane);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TFloats Min(byte* tile, int block, int lane, float* scales) => TLanes.Load((float*)(tile + (block * 640) + 64) + lane);
}

/// <summary><see cref="TileFormat.Int4"/>.</summary>
internal readonly unsafe struct Int4Blocks<TLanes, TFloats, TInts> : IBlocks<TFloats, TInts>
    where TLanes : ILanes<TFloats, TInts>
    where TFloats : unmanaged
    where TInts : unmanaged
{
    public static bool WholeBytes => false;

    public static bool HasMin => false;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static byte* Quants(byte* tile) => tile;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static byte* Block(byte* quants, int block) => quants + TileFormat.Int4.QuantsAt(block);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TInts Group(byte* quants, int block, int group)
    {
        TInts pair = TLanes.Load(quants + (group % 4 * 64));
        return TLanes.And(group < 4 ? pair : TLanes.ShiftRight(pair, 4), TLanes.Broadcast(0x0F0F0F0F));
    }

    public static bool PacksScales => false;

    public static void Unpack(byte* tile, int first, float* scales)
    {
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TFloats Scale(byte* tile, int block, int lane, float* scales) => TLanes.LoadHalves(tile + TileFormat.Int4.ScalesAt(block) + (lane * 2));

    public static TFloats Min(byte* tile, int block, int lane, float* scales) => default;
}

/// <summary><see cref="TileFormat.Int4K"/>.</summary>
internal readonly unsafe struct Int4KBlocks<TLanes, TFloats, TInts> : IBlocks<TFloats, TInts>
    where TLanes : ILanes<TFloats, TInts>
    where TFloats : unmanaged
    where TInts : unmanaged
{
    public static bool WholeBytes => false;

    public static bool HasMin => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static byte* Quants(byte* tile) => tile + 320;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static byte* Block(byte* quants, int block) => Super(quants, block) + (block % 8 / 2 * 512);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TInts Group(byte* quants, int block, int group) =>
        TLanes.And(TLanes.ShiftRight(TLanes.Load(quants + (group * 64)), block % 2 * 4), TLanes.Broadcast(0x0F0F0F0F));

    public static bool PacksScales => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Unpack(byte* tile, int first, float* scales)
    {
        byte* super = Super(tile, first);
        for (int lane = 0; lane < TileFormats.Rows; lane += TLanes.Count)
        {
            TFloats d = TLanes.LoadHalves(super + (lane * 2)), dmin = TLanes.Negate(TLanes.LoadHalves(super + 32 + (lane * 2)));
            for (int at = lane; at < 8 * TileFormats.Rows; at += TileFormats.Rows)
            {
                TLanes.Store(TLanes.Multiply(d, TLanes.LoadBytes(super + 64 + at)), scales + at);
                TLanes.Store(TLanes.Multiply(dmin, TLanes.LoadBytes(super + 192 + at)), scales + (8 * TileFormats.Rows) + at);
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TFloats Scale(byte* tile, int block, int lane, float* scales) => TLanes.Load(scales + (block % 8 * TileFormats.Rows) + lane);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TFloats Min(byte* tile, int block, int lane, float* scales) => TLanes.Load(scales + ((8 + (block % 8)) * TileFormats.Rows) + lane);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static byte* Super(byte* first, int block) => first + (block / 8 * 2368);
}
