using System.Collections.Immutable;
using System.Numerics;

namespace OpenElm.Tokenization;

/// <summary>
/// Ids of pieces by their text, made once for everything that looks pieces up. Control, unknown and byte pieces have names of their
/// own: one of them may have the text of an ordinary piece, and then wins, as in SentencePiece.
/// </summary>
/// <remarks>
/// Ordinary pieces lie in a table of hashes with open addressing. A text's hash is a polynomial of its characters, so the hashes of all
/// its beginnings and ends follow from one pass over it: <see cref="MergeTable"/> asks for every way to cut every piece in two.
/// </remarks>
internal sealed class PieceIndex
{
    // Odd, and other in each process, as the runtime's own hashes are: no file can be made whose pieces all collide.
    static readonly ulong Base = ((ulong)(uint)HashCode.Combine(1) << 32) | (uint)HashCode.Combine(2) | 1;

    readonly ImmutableArray<Piece> _pieces;
    readonly Dictionary<string, int> _reserved = [];
    readonly (uint Check, int IdPlusOne)[] _slots; // at most half full; 0 is empty
    readonly int _shift;

    /// <summary>Makes an empty index.</summary>
    /// <param name="pieces">All pieces, by id.</param>
    public PieceIndex(ImmutableArray<Piece> pieces)
    {
        _pieces = pieces;
        _slots = new (uint, int)[BitOperations.RoundUpToPowerOf2((uint)Math.Max(16, 2 * pieces.Length))];
        _shift = 64 - BitOperations.Log2((uint)_slots.Length);
    }

    /// <summary>Ids of the control, unknown and byte pieces.</summary>
    public IReadOnlyDictionary<string, int> Reserved => _reserved;

    /// <summary>Whether a piece is made by merging, and is not reserved.</summary>
    public static bool IsOrdinary(Piece piece) => piece.Type is PieceType.Normal or PieceType.UserDefined or PieceType.Unused;

    /// <summary>Adds a piece.</summary>
    /// <param name="id">Its id.</param>
    /// <returns>False if one of the same text and kind is there.</returns>
    public bool TryAdd(int id)
    {
        Piece piece = _pieces[id];
        if (!IsOrdinary(piece))
        {
            return _reserved.TryAdd(piece.Text, id);
        }

        ulong hash = Hash(piece.Text);
        if (Find(hash, piece.Text, out int slot) >= 0)
        {
            return false;
        }

        _slots[slot] = ((uint)Mixed(hash), id + 1);
        return true;
    }

    /// <summary>The id of a text, or null.</summary>
    /// <param name="text">The text.</param>
    /// <returns>The reserved piece of this text, else the ordinary one.</returns>
    public int? IdOf(string text) => _reserved.TryGetValue(text, out int id) || (id = Ordinary(text)) >= 0 ? id : null;

    /// <summary>The id of an ordinary piece, or −1.</summary>
    /// <param name="text">Its text.</param>
    /// <returns>The id.</returns>
    public int Ordinary(ReadOnlySpan<char> text) => Find(Hash(text), text, out _);

    /// <summary>Prepares a text for <see cref="Beginning"/> and <see cref="End"/>.</summary>
    /// <param name="text">The text.</param>
    /// <param name="hashes">[text + 1] hashes of its beginnings.</param>
    /// <param name="powers">[text + 1] powers of the base.</param>
    public static void HashParts(ReadOnlySpan<char> text, Span<ulong> hashes, Span<ulong> powers)
    {
        (hashes[0], powers[0]) = (0, 1);
        for (int i = 0; i < text.Length; i++)
        {
            (hashes[i + 1], powers[i + 1]) = ((hashes[i] * Base) + text[i] + 1, powers[i] * Base);
        }
    }

    /// <summary>The id of the ordinary piece that a text begins with, or −1.</summary>
    /// <param name="text">The text.</param>
    /// <param name="at">Where the piece ends.</param>
    /// <param name="hashes">From <see cref="HashParts"/>.</param>
    /// <returns>The id.</returns>
    public int Beginning(ReadOnlySpan<char> text, int at, ReadOnlySpan<ulong> hashes) => Find(hashes[at], text[..at], out _);

    /// <summary>The id of the ordinary piece that a text ends with, or −1.</summary>
    /// <param name="text">The text.</param>
    /// <param name="at">Where the piece begins.</param>
    /// <param name="hashes">From <see cref="HashParts"/>.</param>
    /// <param name="powers">From there, too.</param>
    /// <returns>The id.</returns>
    public int End(ReadOnlySpan<char> text, int at, ReadOnlySpan<ulong> hashes, ReadOnlySpan<ulong> powers) =>
        Find(hashes[text.Length] - (hashes[at] * powers[text.Length - at]), text[at..], out _);

    static ulong Hash(ReadOnlySpan<char> text)
    {
        ulong hash = 0;
        foreach (char c in text)
        {
            hash = (hash * Base) + c + 1;
        }

        return hash;
    }

    static ulong Mixed(ulong hash)
    {
        hash *= 0x9E3779B97F4A7C15;
        return hash ^ (hash >> 32);
    }

    // The id, or −1 and the empty slot where it would be.
    int Find(ulong hash, ReadOnlySpan<char> text, out int slot)
    {
        ulong mixed = Mixed(hash);
        for (slot = (int)(mixed >> _shift); ; slot = (slot + 1) & (_slots.Length - 1))
        {
            (uint check, int idPlusOne) = _slots[slot];
            if (idPlusOne == 0)
            {
                return -1;
            }

            if (check == (uint)mixed && text.SequenceEqual(_pieces[idPlusOne - 1].Text))
            {
                return idPlusOne - 1;
            }
        }
    }
}
