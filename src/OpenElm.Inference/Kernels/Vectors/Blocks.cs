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

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Scales(byte* tile, int first, int count, float* scales, float* mins)
    {
        for (int block = 0; block < count; block++)
        {
            byte* halves = tile + TileFormat.Int8.ScalesAt(first + block);
            for (int lane = 0; lane < TileFormats.Rows; lane += TLanes.Count)
            {
                TLanes.Store(TLanes.LoadHalves(halves + (lane * 2)), scales + (block * TileFormats.Rows) + lane);
            }
        }
    }
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

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Scales(byte* tile, int first, int count, float* scales, float* mins)
    {
        for (int block = 0; block < count; block++)
        {
            var from = (float*)(tile + ((first + block) * 640));
            for (int lane = 0; lane < TileFormats.Rows; lane += TLanes.Count)
            {
                TLanes.Store(TLanes.Load(from + lane), scales + (block * TileFormats.Rows) + lane);
                TLanes.Store(TLanes.Load(from + TileFormats.Rows + lane), mins + (block * TileFormats.Rows) + lane);
            }
        }
    }
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

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Scales(byte* tile, int first, int count, float* scales, float* mins)
    {
        for (int block = 0; block < count; block++)
        {
            byte* halves = tile + TileFormat.Int4.ScalesAt(first + block);
            for (int lane = 0; lane < TileFormats.Rows; lane += TLanes.Count)
            {
                TLanes.Store(TLanes.LoadHalves(halves + (lane * 2)), scales + (block * TileFormats.Rows) + lane);
            }
        }
    }
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

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Scales(byte* tile, int first, int count, float* scales, float* mins)
    {
        byte* super = Super(tile, first);
        for (int lane = 0; lane < TileFormats.Rows; lane += TLanes.Count)
        {
            TFloats d = TLanes.LoadHalves(super + (lane * 2)), dmin = TLanes.Negate(TLanes.LoadHalves(super + 32 + (lane * 2)));
            for (int at = lane; at < 8 * TileFormats.Rows; at += TileFormats.Rows)
            {
                TLanes.Store(TLanes.Multiply(d, TLanes.LoadBytes(super + 64 + at)), scales + at);
                TLanes.Store(TLanes.Multiply(dmin, TLanes.LoadBytes(super + 192 + at)), mins + at);
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static byte* Super(byte* first, int block) => first + (block / 8 * 2368);
}
