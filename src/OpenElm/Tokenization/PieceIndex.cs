namespace OpenElm.Tokenization;

/// <summary>
/// Ids of pieces by their text, made once for everything that looks pieces up. Control, unknown and byte pieces have names of their
/// own: one of them may have the text of an ordinary piece, and then wins, as in SentencePiece.
/// </summary>
internal sealed class PieceIndex
{
    readonly Dictionary<string, int> _ordinary, _reserved;
    readonly Dictionary<string, int>.AlternateLookup<ReadOnlySpan<char>> _ordinaryParts;

    /// <summary>Makes an empty index.</summary>
    /// <param name="capacity">Pieces to expect.</param>
    public PieceIndex(int capacity)
    {
        _ordinary = new Dictionary<string, int>(capacity);
        _reserved = [];
        _ordinaryParts = _ordinary.GetAlternateLookup<ReadOnlySpan<char>>();
    }

    /// <summary>Ids of the control, unknown and byte pieces.</summary>
    public IReadOnlyDictionary<string, int> Reserved => _reserved;

    /// <summary>Whether a piece is made by merging, and is not reserved.</summary>
    public static bool IsOrdinary(Piece piece) => piece.Type is PieceType.Normal or PieceType.UserDefined or PieceType.Unused;

    /// <summary>Adds a piece.</summary>
    /// <param name="piece">The piece.</param>
    /// <param name="id">Its id.</param>
    /// <returns>False if one of the same text and kind is there.</returns>
    public bool TryAdd(Piece piece, int id) => (IsOrdinary(piece) ? _ordinary : _reserved).TryAdd(piece.Text, id);

    /// <summary>The id of a text, or null.</summary>
    /// <param name="text">The text.</param>
    /// <returns>The reserved piece of this text, else the ordinary one.</returns>
    public int? IdOf(string text) => _reserved.TryGetValue(text, out int id) || _ordinary.TryGetValue(text, out id) ? id : null;

    /// <summary>Finds an ordinary piece.</summary>
    /// <param name="text">Its text.</param>
    /// <param name="id">Its id.</param>
    /// <returns>Whether there is one.</returns>
    public bool TryGetOrdinary(ReadOnlySpan<char> text, out int id) => _ordinaryParts.TryGetValue(text, out id);
}
