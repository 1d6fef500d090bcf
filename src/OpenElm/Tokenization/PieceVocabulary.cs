using System.Text;

namespace OpenElm.Tokenization;

/// <summary>Names and ids of the pieces, and what an unknown character becomes.</summary>
internal sealed class PieceVocabulary
{
    readonly SentencePieceModel _model;
    readonly PieceIndex _index;
    readonly int[] _idOfSymbol;
    readonly int[] _idOfByte = new int[256];

    public PieceVocabulary(SentencePieceModel model, PieceIndex index)
    {
        (_model, _index) = (model, index);
        _idOfSymbol = [.. Enumerable.Range(0, model.Pieces.Length)];
        foreach ((string text, int id) in index.Reserved)
        {
            if (index.Ordinary(text) is var ordinary and >= 0)
            {
                _idOfSymbol[ordinary] = id;
            }

            switch (model.Pieces[id].Type)
            {
                case PieceType.Unknown: UnknownId = id; break;
                case PieceType.Byte: _idOfByte[SentencePieceModel.ByteOf(text)!.Value] = id; break;
                default: break;
            }
        }

        BosId = ControlId(model.BosPiece) ?? -1;
        EosId = ControlId(model.EosPiece) ?? -1;
        PadId = ControlId(model.PadPiece) ?? model.Pieces.Length;
    }

    public int UnknownId { get; }

    public int BosId { get; }

    public int EosId { get; }

    public int PadId { get; }

    public int? IdOf(string text) => _index.IdOf(text);

    /// <summary>Writes the ids of one symbol of a text.</summary>
    /// <param name="symbol">The symbol, or <see cref="MergeTable.NoSymbol"/>.</param>
    /// <param name="characters">Its characters in the text.</param>
    /// <param name="ids">[at least 3 for each character]</param>
    /// <returns>Number of ids written.</returns>
    public int Write(int symbol, ReadOnlySpan<char> characters, Span<int> ids)
    {
        if ((uint)symbol < (uint)_idOfSymbol.Length)
        {
            ids[0] = _idOfSymbol[symbol];
            return 1;
        }
        Rune.DecodeFromUtf16(characters, out Rune rune, out _);
        if (_model.EscapeBlanks && rune.Value == ' ')
        {
            rune = new Rune(SentencePieceModel.BlankSymbol);
        }
        // A character that is no piece can still have the text of a control piece.
        if (IdOf(rune.ToString()) is int id)
        {
            ids[0] = id;
            return 1;
        }
        if (!_model.ByteFallback)
        {
            ids[0] = UnknownId;
            return 1;
        }
        Span<byte> bytes = stackalloc byte[4];
        int count = rune.EncodeToUtf8(bytes);
        for (int i = 0; i < count; i++)
        {
            ids[i] = _idOfByte[bytes[i]];
        }
        return count;
    }

    int? ControlId(string text) =>
        IdOf(text) is int id && _model.Pieces[id].Type == PieceType.Control ? id : null;
}
