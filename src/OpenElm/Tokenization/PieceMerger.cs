using System.Text;

namespace OpenElm.Tokenization;

/// <summary>
/// Byte-pair merging: of all neighbours that make a piece, merge those of the best score, the leftmost first, until none is
/// left. Short parts scan for the best pair, long ones keep a heap; both make the same merges.
/// </summary>
internal sealed class PieceMerger(MergeTable table, bool escapeBlanks)
{
    // Up to here a scan over the ranks is faster than the heap.
    const int LongestScan = 40;

    /// <summary>Cuts <paramref name="text"/> into symbols.</summary>
    /// <returns>The thread's memory, with Count, Symbols and Starts filled.</returns>
    public MergeScratch Merge(ReadOnlySpan<char> text)
    {
        MergeScratch scratch = MergeScratch.Rent(text.Length);
        Characters(text, scratch);
        scratch.Parts.Clear();
        if (scratch.Count <= LongestScan)
        {
            MergeByScan(scratch);
        }
        else
        {
            MergeByHeap(scratch);
        }
        if (scratch.Parts.Count > 0)
        {
            TakeUnusedApart(ref scratch, text.Length);
        }
        return scratch;
    }

    void Characters(ReadOnlySpan<char> text, MergeScratch scratch)
    {
        int count = 0;
        for (int i = 0; i < text.Length; count++)
        {
            scratch.Starts[count] = i;
            char c = text[i];
            if (!char.IsSurrogate(c))
            {
                scratch.Symbols[count] = table.SymbolOf(escapeBlanks && c == ' ' ? SentencePieceModel.BlankSymbol : c);
                i++;
            }
            else
            {
                // A lone surrogate gives the replacement character, as malformed UTF-8 does in SentencePiece.
                Rune.DecodeFromUtf16(text[i..], out Rune rune, out int length);
                scratch.Symbols[count] = table.SymbolOf(rune);
                i += length;
            }
        }
        scratch.Starts[count] = text.Length;
        scratch.Count = count;
    }

    void LookUp(MergeScratch scratch, int left, int right)
    {
        int leftSymbol = scratch.Symbols[left];
        int rightSymbol = scratch.Symbols[right];
        int merged = table.Merge(leftSymbol, rightSymbol);
        scratch.PairSymbols[left] = merged;
        scratch.PairRanks[left] = table.RankOf(merged);
        if (table.HasUnused && table.IsUnused(merged))
        {
            scratch.Parts[merged] = (leftSymbol, rightSymbol);
        }
    }

    void MergeByScan(MergeScratch scratch)
    {
        int count = scratch.Count;
        for (int i = 0; i + 1 < count; i++)
        {
            LookUp(scratch, i, i + 1);
        }
        int[] symbols = scratch.Symbols, starts = scratch.Starts, pairSymbols = scratch.PairSymbols, ranks = scratch.PairRanks;
        while (count > 1)
        {
            int best = 0;
            for (int i = 1; i < count - 1; i++)
            {
                if (ranks[i] < ranks[best])
                {
                    best = i;
                }
            }
            if (ranks[best] == MergeTable.NoRank)
            {
                break;
            }
            symbols[best] = pairSymbols[best];
            for (int i = best + 1; i < count - 1; i++)
            {
                symbols[i] = symbols[i + 1];
                starts[i] = starts[i + 1];
                pairSymbols[i] = pairSymbols[i + 1];
                ranks[i] = ranks[i + 1];
            }
            starts[count - 1] = starts[count];
            count--;
            if (best > 0)
            {
                LookUp(scratch, best - 1, best);
            }
            if (best + 1 < count)
            {
                LookUp(scratch, best, best + 1);
            }
        }
        scratch.Count = count;
    }

    void MergeByHeap(MergeScratch scratch)
    {
        int count = scratch.Count;
        int[] symbols = scratch.Symbols, previous = scratch.Previous, next = scratch.Next, ranks = scratch.PairRanks;
        MinHeap heap = scratch.Heap;
        heap.Clear();

        void Propose(int left, int right)
        {
            LookUp(scratch, left, right);
            if (ranks[left] != MergeTable.NoRank)
            {
                heap.Push(((ulong)(uint)ranks[left] << 32) | (uint)left);
            }
        }

        for (int i = 0; i < count; i++)
        {
            previous[i] = i - 1;
            next[i] = i + 1;
            ranks[i] = MergeTable.NoRank;
        }
        for (int i = 0; i + 1 < count; i++)
        {
            Propose(i, i + 1);
        }
        while (heap.Count > 0)
        {
            ulong top = heap.Pop();
            int left = (int)(uint)top;
            if (ranks[left] != (int)(top >> 32))
            {
                continue; // one of the two has been merged with another neighbour since
            }
            int right = next[left];
            symbols[left] = scratch.PairSymbols[left];
            ranks[left] = ranks[right] = MergeTable.NoRank;
            int after = next[left] = next[right];
            if (after < count)
            {
                previous[after] = left;
            }
            if (previous[left] >= 0)
            {
                Propose(previous[left], left);
            }
            if (after < count)
            {
                Propose(left, after);
            }
        }

        int kept = 0;
        int end = scratch.Starts[count];
        for (int i = 0; i < count; i = next[i])
        {
            symbols[kept] = symbols[i];
            scratch.Starts[kept++] = scratch.Starts[i];
        }
        scratch.Starts[kept] = end;
        scratch.Count = kept;
    }

    void TakeUnusedApart(ref MergeScratch scratch, int length)
    {
        var symbols = new List<int>();
        var starts = new List<int>();
        MergeScratch merged = scratch;

        void Emit(int symbol, int start)
        {
            if (table.IsUnused(symbol) && merged.Parts.TryGetValue(symbol, out (int Left, int Right) parts))
            {
                Emit(parts.Left, start);
                Emit(parts.Right, start + table.LengthOf(parts.Left));
                return;
            }
            symbols.Add(symbol);
            starts.Add(start);
        }

        for (int i = 0; i < merged.Count; i++)
        {
            Emit(merged.Symbols[i], merged.Starts[i]);
        }
        starts.Add(length);
        symbols.CopyTo(scratch.Symbols);
        starts.CopyTo(scratch.Starts);
        scratch.Count = symbols.Count;
    }
}
