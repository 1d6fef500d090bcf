using System.Numerics;
using System.Text;

namespace OpenElm.Tokenization;

/// <summary>
/// The vocabulary as merging sees it. A symbol is a piece (its number is the piece's id) or a character that occurs only inside
/// pieces (numbers from the piece count on). Built once: which pair of symbols makes which piece, and in which order.
/// </summary>
internal sealed class MergeTable
{
    /// <summary>A character that no piece contains.</summary>
    public const int NoSymbol = -1;

    /// <summary>The rank of a pair that makes no piece.</summary>
    public const int NoRank = int.MaxValue;

    readonly int[] _characters = new int[char.MaxValue + 1];
    readonly Dictionary<int, int> _supplementaryCharacters = [];
    readonly ulong[] _pairs;
    readonly int[] _merged;
    readonly int _shift;
    readonly int[] _ranks;
    readonly int[] _lengths;
    readonly bool[] _unused;

    public MergeTable(SentencePieceModel model)
    {
        Array.Fill(_characters, NoSymbol);
        var symbols = new Dictionary<string, int>();
        for (int id = 0; id < model.Pieces.Length; id++)
        {
            if (IsMergeable(model.Pieces[id]))
            {
                symbols.Add(model.Pieces[id].Text, id);
            }
        }
        AddCharacters(model, symbols);

        _ranks = new int[symbols.Count == 0 ? 0 : symbols.Values.Max() + 1];
        _lengths = new int[_ranks.Length];
        _unused = new bool[_ranks.Length];
        foreach ((string text, int symbol) in symbols)
        {
            _lengths[symbol] = text.Length;
            _unused[symbol] = symbol < model.Pieces.Length && model.Pieces[symbol].Type == PieceType.Unused;
        }
        HasUnused = _unused.Contains(true);
        Rank(model);

        var merges = new List<(ulong Pair, int Merged)>();
        Dictionary<string, int>.AlternateLookup<ReadOnlySpan<char>> find = symbols.GetAlternateLookup<ReadOnlySpan<char>>();
        foreach ((string text, int symbol) in symbols)
        {
            for (int at = 1; at < text.Length; at++)
            {
                if (!char.IsLowSurrogate(text[at])
                    && find.TryGetValue(text.AsSpan(0, at), out int left)
                    && find.TryGetValue(text.AsSpan(at), out int right))
                {
                    merges.Add((Key(left, right), symbol));
                }
            }
        }
        // Open addressing, at most half full; the key 0 (symbol 0 twice) never occurs in a slot because keys are stored plus one.
        int slots = (int)BitOperations.RoundUpToPowerOf2((uint)Math.Max(16, merges.Count * 2));
        _shift = 64 - BitOperations.Log2((uint)slots);
        _pairs = new ulong[slots];
        _merged = new int[slots];
        foreach ((ulong pair, int merged) in merges)
        {
            int slot = Slot(pair);
            while (_pairs[slot] != 0)
            {
                slot = (slot + 1) & (slots - 1);
            }
            _pairs[slot] = pair + 1;
            _merged[slot] = merged;
        }
    }

    /// <summary>Whether some pieces may be merged and are then taken apart again.</summary>
    public bool HasUnused { get; }

    public static bool IsMergeable(Piece piece) =>
        piece.Type is PieceType.Normal or PieceType.UserDefined or PieceType.Unused;

    /// <summary>Symbol of one character, or <see cref="NoSymbol"/>.</summary>
    public int SymbolOf(char character) => _characters[character];

    /// <summary>Symbol of one character, or <see cref="NoSymbol"/>.</summary>
    public int SymbolOf(Rune character) => character.IsBmp
        ? _characters[character.Value]
        : _supplementaryCharacters.GetValueOrDefault(character.Value, NoSymbol);

    /// <summary>The symbol that two neighbours make, or <see cref="NoSymbol"/>.</summary>
    public int Merge(int left, int right)
    {
        if (left < 0 || right < 0)
        {
            return NoSymbol;
        }
        ulong key = Key(left, right);
        for (int slot = Slot(key); ; slot = (slot + 1) & (_pairs.Length - 1))
        {
            ulong pair = _pairs[slot];
            if (pair == key + 1)
            {
                return _merged[slot];
            }
            if (pair == 0)
            {
                return NoSymbol;
            }
        }
    }

    /// <summary>Order of merging: the smallest first, equal scores have equal ranks.</summary>
    public int RankOf(int symbol) => symbol < 0 ? NoRank : _ranks[symbol];

    /// <summary>Number of UTF-16 characters.</summary>
    public int LengthOf(int symbol) => _lengths[symbol];

    public bool IsUnused(int symbol) => symbol >= 0 && _unused[symbol];

    static ulong Key(int left, int right) => ((ulong)(uint)left << 32) | (uint)right;

    int Slot(ulong key) => (int)((key * 0x9E3779B97F4A7C15) >> _shift);

    void AddCharacters(SentencePieceModel model, Dictionary<string, int> symbols)
    {
        int next = model.Pieces.Length;
        foreach (Piece piece in model.Pieces)
        {
            if (!IsMergeable(piece))
            {
                continue;
            }
            foreach (Rune rune in piece.Text.EnumerateRunes())
            {
                if (SymbolOf(rune) != NoSymbol)
                {
                    continue;
                }
                string text = rune.ToString();
                if (!symbols.TryGetValue(text, out int symbol))
                {
                    symbol = next++;
                    symbols.Add(text, symbol);
                }
                if (rune.IsBmp)
                {
                    _characters[rune.Value] = symbol;
                }
                else
                {
                    _supplementaryCharacters[rune.Value] = symbol;
                }
            }
        }
    }

    void Rank(SentencePieceModel model)
    {
        float[] scores = [.. model.Pieces.Where(IsMergeable).Select(piece => piece.Score).Distinct().OrderDescending()];
        var rankOfScore = new Dictionary<float, int>();
        foreach (float score in scores)
        {
            rankOfScore.Add(score, rankOfScore.Count);
        }
        for (int id = 0; id < model.Pieces.Length; id++)
        {
            if (IsMergeable(model.Pieces[id]))
            {
                _ranks[id] = rankOfScore[model.Pieces[id].Score];
            }
        }
    }
}
