namespace OpenElm.Inference.Kernels.Assembled;

/// <summary>Rows in blocks of nearly the same size.</summary>
/// <param name="rows">Rows, 1 or more.</param>
/// <param name="most">The most rows of a block.</param>
internal readonly struct RowBlocks(int rows, int most)
{
    /// <summary>How many blocks.</summary>
    public int Count { get; } = (rows + most - 1) / most;

    /// <summary>Rows of the largest.</summary>
    public int Largest => (rows + Count - 1) / Count;

    /// <summary>The first row of a block, or, of the block behind the last, the number of rows.</summary>
    /// <param name="block">From 0.</param>
    /// <returns>The row.</returns>
    public int First(int block) => (int)((long)rows * block / Count);
}
