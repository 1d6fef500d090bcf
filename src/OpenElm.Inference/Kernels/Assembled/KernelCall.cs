using System.Runtime.InteropServices;

namespace OpenElm.Inference.Kernels.Assembled;

/// <summary>
/// What one call of an assembled kernel works on: a few rows of activations times some columns of a run of tiles. The kernel walks over the
/// tiles and changes <see cref="Weight"/>, <see cref="Y"/> and <see cref="Groups"/> on its way.
/// </summary>
[StructLayout(LayoutKind.Explicit)]
internal struct KernelCall
{
    public const int WeightAt = 0, TileStrideAt = 16, GroupStrideAt = 24, GroupsAt = 32, XAt = 40, XStrideAt = 48,
        YAt = 56, YStrideAt = 64, StepsAt = 72, StepStrideAt = 80, AddAt = 88, ScratchAt = 96;

    /// <summary>The first tile's numbers, at the first column.</summary>
    [FieldOffset(WeightAt)] public nint Weight;

    /// <summary>Bytes from a tile to the next.</summary>
    [FieldOffset(TileStrideAt)] public long TileStride;

    /// <summary>Bytes from a group of tiles that is computed side by side to the next.</summary>
    [FieldOffset(GroupStrideAt)] public long GroupStride;

    /// <summary>Groups of tiles, 1 or more.</summary>
    [FieldOffset(GroupsAt)] public long Groups;

    /// <summary>The first row of activations, at the first column.</summary>
    [FieldOffset(XAt)] public nint X;

    /// <summary>Bytes from a row of activations to the next.</summary>
    [FieldOffset(XStrideAt)] public long XStride;

    /// <summary>The first tile's results for the first row.</summary>
    [FieldOffset(YAt)] public nint Y;

    /// <summary>Bytes from a row of results to the next.</summary>
    [FieldOffset(YStrideAt)] public long YStride;

    /// <summary>Steps along the columns, 1 or more: columns of F32, pairs of BF16, blocks of the others (32 or 256 columns).</summary>
    [FieldOffset(StepsAt)] public long Steps;

    /// <summary>Bytes from a step of a float tile to the next.</summary>
    [FieldOffset(StepStrideAt)] public long StepStride;

    /// <summary>Whether the sums begin with y: 0 or 1.</summary>
    [FieldOffset(AddAt)] public long Add;

    /// <summary>Memory that stays in the cache: for the scales of a tile.</summary>
    [FieldOffset(ScratchAt)] public nint Scratch;
}
