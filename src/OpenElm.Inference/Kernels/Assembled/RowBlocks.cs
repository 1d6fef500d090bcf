namespace OpenElm.Inference.Kernels.Assembled;

/// <summary>
/// Rows in blocks that are multiplied one after the other. The first block brings the weights from memory and is small: with few
/// rows, the processor looks far enough ahead to keep the memory busy. The others find the weights in the cache, and are as large as the
/// registers allow, all of nearly the same size. (16 rows, one core: Int8 93 → 145, Int4K 118 → 150, BF16 63 → 97 G multiply-adds a second.)
/// </summary>
/// <param name="rows">Rows, 1 or more.</param>
/// <param name="first">Rows of the first block, where there are many more.</param>
/// <param name="most">The most rows of another block.</param>
internal readonly struct RowBlocks(int rows, int first, int most)
{
    readonly int _first = Math.Min(rows, first);

    /// <summary>How many blocks.</summary>
    public int Count => 1 + ((rows - _first + most - 1) / most);

    /// <summary>Rows of the largest.</summary>
    public int Largest => Count == 1 ? rows : Math.Max(_first, (rows - _first + Count - 2) / (Count - 1));

    /// <summary>The first row of a block, or, of the block behind the last, the number of rows.</summary>
    /// <param name="block">From 0.</param>
    /// <returns>The row.</returns>
    public int First(int block) => block == 0 ? 0 : _first + (Count == 1 ? 0 : (int)((long)(rows - _first) * (block - 1) / (Count - 1)));
}
