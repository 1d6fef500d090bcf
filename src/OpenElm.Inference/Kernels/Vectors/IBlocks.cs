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

    /// <summary>Whether <see cref="Unpack"/> has work to do.</summary>
    static abstract bool PacksScales { get; }

    /// <summary>Unpacks what 8 blocks share, before the first of them.</summary>
    /// <param name="tile">The tile.</param>
    /// <param name="first">The first of the blocks.</param>
    /// <param name="scales">[2, 8, 16]: scales, then minimums.</param>
    static abstract void Unpack(byte* tile, int first, float* scales);

    /// <summary>The scales of a block.</summary>
    /// <param name="tile">The tile.</param>
    /// <param name="block">The block.</param>
    /// <param name="lane">The first row of the register.</param>
    /// <param name="scales">What <see cref="Unpack"/> wrote.</param>
    static abstract TFloats Scale(byte* tile, int block, int lane, float* scales);

    /// <summary>The minimums of a block.</summary>
    /// <param name="tile">The tile.</param>
    /// <param name="block">The block.</param>
    /// <param name="lane">The first row of the register.</param>
    /// <param name="scales">What <see cref="Unpack"/> wrote.</param>
    static abstract TFloats Min(byte* tile, int block, int lane, float* scales);
}
