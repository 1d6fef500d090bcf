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
    public static byte* Quants(byte* tile, int columns) => tile + TileFormats.ScaleBytes(columns);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static byte* Block(byte* quants, int block) => quants + (block * 512);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TInts Group(byte* quants, int block, int group) => TLanes.Load(quants + (group * 64));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TFloats Scale(byte* tile, int block, int lane) => TLanes.LoadHalves(tile + (block * 32) + (lane * 2));

    public static TFloats Min(byte* tile, int block, int lane) => default;
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
    public static byte* Quants(byte* tile, int columns) => tile + 128;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static byte* Block(byte* quants, int block) => quants + (block * 640);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TInts Group(byte* quants, int block, int group) => TLanes.Load(quants + (group * 64));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TFloats Scale(byte* tile, int block, int lane) => TLanes.Load((float*)(tile + (block * 640)) + lane);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TFloats Min(byte* tile, int block, int lane) => TLanes.Load((float*)(tile + (block * 640) + 64) + lane);
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
    public static byte* Quants(byte* tile, int columns) => tile + TileFormats.ScaleBytes(columns);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static byte* Block(byte* quants, int block) => quants + (block * 256);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TInts Group(byte* quants, int block, int group)
    {
        TInts pair = TLanes.Load(quants + (group % 4 * 64));
        return TLanes.And(group < 4 ? pair : TLanes.ShiftRight(pair, 4), TLanes.Broadcast(0x0F0F0F0F));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TFloats Scale(byte* tile, int block, int lane) => TLanes.LoadHalves(tile + (block * 32) + (lane * 2));

    public static TFloats Min(byte* tile, int block, int lane) => default;
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
    public static byte* Quants(byte* tile, int columns) => tile + 320;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static byte* Block(byte* quants, int block) => Super(quants, block) + (block % 8 / 2 * 512);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TInts Group(byte* quants, int block, int group) =>
        TLanes.And(TLanes.ShiftRight(TLanes.Load(quants + (group * 64)), block % 2 * 4), TLanes.Broadcast(0x0F0F0F0F));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TFloats Scale(byte* tile, int block, int lane) =>
        TLanes.Multiply(TLanes.LoadHalves(Super(tile, block) + (lane * 2)), TLanes.LoadBytes(Super(tile, block) + 64 + (block % 8 * 16) + lane));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TFloats Min(byte* tile, int block, int lane) => TLanes.Negate(
        TLanes.Multiply(TLanes.LoadHalves(Super(tile, block) + 32 + (lane * 2)), TLanes.LoadBytes(Super(tile, block) + 192 + (block % 8 * 16) + lane)));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static byte* Super(byte* first, int block) => first + (block / 8 * 2368);
}
