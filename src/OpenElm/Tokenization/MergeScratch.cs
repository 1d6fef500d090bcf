namespace OpenElm.Tokenization;

/// <summary>Working memory of one thread for merging; grown to the longest part seen.</summary>
internal sealed class MergeScratch
{
    const int Kept = 1 << 16;

    [ThreadStatic]
    static MergeScratch? _current;

    MergeScratch(int capacity)
    {
        Symbols = new int[capacity];
        Starts = new int[capacity + 1];
        PairSymbols = new int[capacity];
        PairRanks = new int[capacity];
        Previous = new int[capacity];
        Next = new int[capacity];
    }

    /// <summary>Number of symbols now.</summary>
    public int Count { get; set; }

    /// <summary>[Count] the symbols, in the order of the text.</summary>
    public int[] Symbols { get; }

    /// <summary>[Count + 1] index of the first character of each symbol; the last entry is the length of the text.</summary>
    public int[] Starts { get; }

    /// <summary>[Count] what each symbol and its right neighbour would make.</summary>
    public int[] PairSymbols { get; }

    /// <summary>[Count] the rank of that.</summary>
    public int[] PairRanks { get; }

    /// <summary>[Count] the left neighbour, while the symbols are a linked list.</summary>
    public int[] Previous { get; }

    /// <summary>[Count] the right neighbour, while the symbols are a linked list.</summary>
    public int[] Next { get; }

    /// <summary>Pairs that may be merged next, smallest rank first, then leftmost.</summary>
    public MinHeap Heap { get; } = new();

    /// <summary>How unused pieces came about, to take them apart again.</summary>
    public Dictionary<int, (int Left, int Right)> Parts { get; } = [];

    /// <summary>This thread's memory, with room for <paramref name="length"/> symbols.</summary>
    public static MergeScratch Rent(int length)
    {
        MergeScratch? scratch = _current;
        if (scratch is not null && scratch.Symbols.Length >= length)
        {
            return scratch;
        }
        scratch = new MergeScratch(Math.Max(256, length));
        if (scratch.Symbols.Length <= Kept)
        {
            _current = scratch;
        }
        return scratch;
    }
}
