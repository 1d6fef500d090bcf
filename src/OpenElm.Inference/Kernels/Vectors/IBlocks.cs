using OpenElm.Inference.Tiles;

namespace OpenElm.Inference.Kernels.Vectors;

/// <summary>
/// Reads the blocks of 32 columns of a format of integers, for the rows of one register; the layouts are those of <see cref="TileFormat"/>.
/// </summary>
/// <typeparam name="TFloats">A register of floats.</typeparam>
/// <typeparam name="TInts">A register of 4 bytes in each lane.</typeparam>
internal unsafe interface IBlocks<TFloats, TInts>
    where TFloats : unmanaged
    where TInts : unmanaged
{
    /// <summary>Whether q is above 15: then 8 products do not fit into 16 bits.</summary>
    static abstract bool WholeBytes { get; }

    /// <summary>Whether a block has a minimum.</summary>
    static abstract bool HasMin { get; }

    /// <summary>The first quants of a tile.</summary>
    /// <param name="tile">The tile.</param>
    static abstract byte* Quants(byte* tile);

    /// <summary>The first quants of a block.</summary>
    /// <param name="quants">The first of the tile.</param>
    /// <param name="block">The block, from 0.</param>
    static abstract byte* Block(byte* quants, int block);

    /// <summary>The q of 4 columns as unsigned bytes.</summary>
    /// <param name="quants">The first quants of the block, for the rows of the register.</param>
    /// <param name="block">The block.</param>
    /// <param name="group">Which columns: 4 · group … 4 · group + 3.</param>
    static abstract TInts Group(byte* quants, int block, int group);

    /// <summary>Scales and minimums of some blocks as floats.</summary>
    /// <param name="tile">The tile.</param>
    /// <param name="first">The first block, a multiple of 8.</param>
    /// <param name="count">Blocks, at most 8.</param>
    /// <param name="scales">[8, 16].</param>
    /// <param name="mins">[8, 16]; left alone where a block has none.</param>
    static abstract void Scales(byte* tile, int first, int count, float* scales, float* mins);
}
