using System.Runtime.InteropServices;
using System.Text;

namespace OpenElm.Tokenization;

/// <summary>
/// Learns the merges of byte-pair encoding from counted words: again and again the most frequent pair of neighbours becomes a
/// piece; among equals the shorter, then the one that comes first in the alphabet. Counts and the words in which a pair occurs
/// are kept up to date, so a merge touches only the words that contain it.
/// </summary>
internal sealed class MergeLearner
{
    readonly int _maxLength;
    readonly List<(string Text, int Length)> _symbols = [];
    readonly Dictionary<string, int> _symbolOf = [];
    readonly List<(int[] Symbols, int Length, long Count)> _words = [];
    readonly Dictionary<ulong, Pair> _pairs = [];
    readonly PriorityQueue<ulong, Priority> _queue = new();
    readonly HashSet<ulong> _grown = [];

    /// <summary>Prepares the words.</summary>
    /// <param name="words">Words and how often they occur.</param>
    /// <param name="alphabet">Characters that may be in pieces; the others separate.</param>
    /// <param name="maxLength">Longest piece in code points.</param>
    public MergeLearner(IEnumerable<(string Word, long Count)> words, IReadOnlySet<Rune> alphabet, int maxLength)
    {
        _maxLength = maxLength;
        var symbols = new List<int>();
        foreach ((string word, long count) in words)
        {
            symbols.Clear();
            foreach (Rune rune in word.EnumerateRunes())
            {
                if (alphabet.Contains(rune))
                {
                    symbols.Add(SymbolOf(rune.ToString(), 1));
                }
                else
                {
                    AddWord(symbols, count);
                }
            }
            AddWord(symbols, count);
        }
        foreach ((ulong key, Pair pair) in _pairs)
        {
            Enqueue(key, pair.Count);
        }
    }

    /// <summary>Learns at most <paramref name="count"/> pieces, the most frequent first.</summary>
    public List<string> Learn(int count, CancellationToken cancellation)
    {
        var pieces = new List<string>(Math.Min(count, 1 << 20));
        while (pieces.Count < count && _queue.TryDequeue(out ulong key, out Priority priority))
        {
            cancellation.ThrowIfCancellationRequested();
            if (!_pairs.TryGetValue(key, out Pair? pair))
            {
                continue;
            }
            if (pair.Count != priority.Count)
            {
                if (pair.Count > 0)
                {
                    Enqueue(key, pair.Count); // it has become rarer since
                }
                continue;
            }
            int known = _symbols.Count;
            int merged = SymbolOf(priority.Text, priority.Length);
            Merge(key, pair, merged);
            if (merged == known)
            {
                pieces.Add(priority.Text); // else: the same piece from another pair, as "aaa" from "aa" + "a" and "a" + "aa"
            }
        }
        return pieces;
    }

    void Merge(ulong key, Pair pair, int merged)
    {
        (int left, int right) = ((int)(key >> 32), (int)(uint)key);
        _pairs.Remove(key);
        _grown.Clear();
        foreach (int index in pair.Words)
        {
            ref (int[] Symbols, int Length, long Count) word = ref CollectionsMarshal.AsSpan(_words)[index];
            Span<int> symbols = word.Symbols.AsSpan(0, word.Length);
            if (!ContainsPair(symbols, left, right))
            {
                continue; // listed twice, or changed by an earlier merge
            }
            CountPairs(symbols, -word.Count, index, merged);
            int length = 0;
            for (int i = 0; i < symbols.Length; i++)
            {
                bool here = i + 1 < symbols.Length && symbols[i] == left && symbols[i + 1] == right;
                symbols[length++] = here ? merged : symbols[i];
                i += here ? 1 : 0;
            }
            word.Length = length;
            CountPairs(symbols[..length], word.Count, index, merged);
        }
        _pairs.Remove(key); // counting put it back
        foreach (ulong grown in _grown)
        {
            if (_pairs.TryGetValue(grown, out Pair? now) && now.Count > 0)
            {
                Enqueue(grown, now.Count);
            }
        }
    }

    static bool ContainsPair(ReadOnlySpan<int> symbols, int left, int right)
    {
        for (int i = 1; i < symbols.Length; i++)
        {
            if (symbols[i - 1] == left && symbols[i] == right)
            {
                return true;
            }
        }
        return false;
    }

    void CountPairs(ReadOnlySpan<int> symbols, long count, int word, int merged)
    {
        for (int i = 1; i < symbols.Length; i++)
        {
            (int left, int right) = (symbols[i - 1], symbols[i]);
            if (_symbols[left].Length + _symbols[right].Length > _maxLength)
            {
                continue;
            }
            ulong key = ((ulong)(uint)left << 32) | (uint)right;
            ref Pair? pair = ref CollectionsMarshal.GetValueRefOrAddDefault(_pairs, key, out _);
            pair ??= new Pair();
            pair.Count += count;
            if (count > 0 && (left == merged || right == merged))
            {
                pair.Words.Add(word);
                _grown.Add(key);
            }
        }
    }

    void AddWord(List<int> symbols, long count)
    {
        if (symbols.Count > 1)
        {
            int index = _words.Count;
            _words.Add(([.. symbols], symbols.Count, count));
            for (int i = 1; i < symbols.Count; i++)
            {
                ulong key = ((ulong)(uint)symbols[i - 1] << 32) | (uint)symbols[i];
                ref Pair? pair = ref CollectionsMarshal.GetValueRefOrAddDefault(_pairs, key, out _);
                pair ??= new Pair();
                pair.Count += count;
                if (pair.Words is not [.., int last] || last != index)
                {
                    pair.Words.Add(index);
                }
            }
        }
        symbols.Clear();
    }

    int SymbolOf(string text, int length)
    {
        ref int symbol = ref CollectionsMarshal.GetValueRefOrAddDefault(_symbolOf, text, out bool exists);
        if (!exists)
        {
            symbol = _symbols.Count;
            _symbols.Add((text, length));
        }
        return symbol;
    }

    void Enqueue(ulong key, long count)
    {
        (string leftText, int leftLength) = _symbols[(int)(key >> 32)];
        (string rightText, int rightLength) = _symbols[(int)(uint)key];
        if (leftLength + rightLength <= _maxLength)
        {
            _queue.Enqueue(key, new Priority(count, leftLength + rightLength, leftText + rightText, key));
        }
    }

    sealed class Pair
    {
        public long Count;
        public readonly List<int> Words = [];
    }

    readonly record struct Priority(long Count, int Length, string Text, ulong Key) : IComparable<Priority>
    {
        public int CompareTo(Priority other)
        {
            int order = other.Count.CompareTo(Count);
            order = order != 0 ? order : Length.CompareTo(other.Length);
            order = order != 0 ? order : string.CompareOrdinal(Text, other.Text);
            return order != 0 ? order : Key.CompareTo(other.Key); // the same piece from two pairs: the older pair
        }
    }
}
