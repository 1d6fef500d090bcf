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

    public MergeTable(SentencePieceModel model, PieceIndex index)
    {
        Array.Fill(_characters, NoSymbol);
        int symbols = AddCharacters(model, index);
        _ranks = new int[symbols];
        _lengths = new int[symbols];
        _unused = new bool[symbols];
        Rank(model);
        Array.Fill(_lengths, 1, model.Pieces.Length, symbols - model.Pieces.Length);
        foreach (int symbol in _supplementaryCharacters.Values)
        {
            _lengths[symbol] = 2;
        }

        var merges = new List<(ulong Pair, int Merged)>(2 * symbols);
        int longest = model.Pieces.Max(piece => piece.Text.Length);
        ulong[] hashes = new ulong[longest + 1], powers = new ulong[longest + 1];
        for (int id = 0; id < model.Pieces.Length; id++)
        {
            Piece piece = model.Pieces[id];
            if (!PieceIndex.IsOrdinary(piece))
            {
                continue;
            }

            _lengths[id] = piece.Text.Length;
            _unused[id] = piece.Type == PieceType.Unused;
            HasUnused |= _unused[id];
            string text = piece.Text;
            PieceIndex.HashParts(text, hashes, powers);
            for (int at = 1; at < text.Length; at++)
            {
                if (!char.IsLowSurrogate(text[at])
                    && (Character(text.AsSpan(0, at)) ?? index.Beginning(text, at, hashes)) is var left and >= 0
                    && (Character(text.AsSpan(at)) ?? index.End(text, at, hashes, powers)) is var right and >= 0)
                {
                    merges.Add((Key(left, right), id));
                }
            }
        }

        // A part that is one character need not be a piece.
        int? Character(ReadOnlySpan<char> part) =>
            part.Length == 1 ? SymbolOf(part[0])
            : part.Length == 2 && char.IsSurrogatePair(part[0], part[1]) ? SymbolOf(new Rune(part[0], part[1]))
            : null;

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

    // Every character of every piece is a symbol; the first numbers are the pieces' own. Returns how many symbols there are.
    int AddCharacters(SentencePieceModel model, PieceIndex index)
    {
        int next = model.Pieces.Length;
        Span<char> characters = stackalloc char[2];
        foreach (Piece piece in model.Pieces)
        {
            if (!PieceIndex.IsOrdinary(piece))
            {
                continue;
            }

            foreach (Rune rune in piece.Text.EnumerateRunes())
            {
                if (SymbolOf(rune) != NoSymbol)
                {
                    continue;
                }

                int symbol = index.Ordinary(characters[..rune.EncodeToUtf16(characters)]) is var id and >= 0 ? id : next++;
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

        return next;
    }

    void Rank(SentencePieceModel model)
    {
        int[] ids = [.. Enumerable.Range(0, model.Pieces.Length).Where(id => PieceIndex.IsOrdinary(model.Pieces[id]))];
        float[] scores = [.. ids.Select(id => -model.Pieces[id].Score)]; // the highest first
        Array.Sort(scores, ids);
        for (int i = 0, rank = 0; i < ids.Length; i++)
        {
            rank += i > 0 && scores[i] != scores[i - 1] ? 1 : 0;
            _ranks[ids[i]] = rank;
        }
    }
}
