using System.Buffers;
using System.Text;

namespace OpenElm.Tokenization;

/// <summary>Turns ids into text one by one, as SentencePiece decodes them; the state between two ids.</summary>
internal sealed class PieceDecoder(SentencePieceModel model, PieceVocabulary vocabulary)
{
    // Byte pieces that do not yet make a whole character: at most three.
    readonly byte[] _bytes = new byte[4];
    int _byteCount;
    bool _atStart = true;

    /// <summary>Whether nothing was decoded yet; bytes that wait for more count as something.</summary>
    public bool IsAtStart => _atStart && _byteCount == 0;

    public void Append(int id, StringBuilder text)
    {
        if (id == vocabulary.PadId && id == model.Pieces.Length)
        {
            return; // the padding id that the model file does not have is as invisible as one that it has
        }
        if ((uint)id >= (uint)model.Pieces.Length)
        {
            throw new OpenElmException($"Token id {id} is outside of the tokenizer's {model.Pieces.Length} pieces: take the tokenizer that belongs to these ids.");
        }
        Piece piece = model.Pieces[id];
        if (piece.Type == PieceType.Byte)
        {
            _bytes[_byteCount++] = SentencePieceModel.ByteOf(piece.Text)!.Value;
            TakeBytes(text, atEnd: false);
            return;
        }
        TakeBytes(text, atEnd: true);
        switch (piece.Type)
        {
            case PieceType.Control:
                break;
            case PieceType.Unknown:
                Emit(model.UnknownSurface, text);
                break;
            default:
                AppendPiece(piece.Text, text);
                break;
        }
    }

    /// <summary>Ends the text: bytes that never became a character turn into replacement characters.</summary>
    public void Flush(StringBuilder text) => TakeBytes(text, atEnd: true);

    void AppendPiece(string piece, StringBuilder text)
    {
        ReadOnlySpan<char> rest = piece;
        if (_atStart && (model.AddDummyPrefix || model.RemoveExtraBlanks) && rest[0] == SentencePieceModel.BlankSymbol)
        {
            rest = rest[1..];
            // A model that removes extra blanks has none at the start, however many pieces begin with one.
            _atStart = model.RemoveExtraBlanks && rest.IsEmpty;
        }
        int from = text.Length;
        Emit(rest, text);
        text.Replace(SentencePieceModel.BlankSymbol, ' ', from, text.Length - from);
    }

    void Emit(ReadOnlySpan<char> characters, StringBuilder text)
    {
        if (!characters.IsEmpty)
        {
            text.Append(characters);
            _atStart = false;
        }
    }

    void TakeBytes(StringBuilder text, bool atEnd)
    {
        Span<char> characters = stackalloc char[2];
        while (_byteCount > 0)
        {
            OperationStatus status = Rune.DecodeFromUtf8(_bytes.AsSpan(0, _byteCount), out Rune rune, out int length);
            if (status == OperationStatus.NeedMoreData && !atEnd)
            {
                return;
            }
            if (status != OperationStatus.Done)
            {
                (rune, length) = (Rune.ReplacementChar, 1); // one for each byte, not for each broken sequence
            }
            Emit(characters[..rune.EncodeToUtf16(characters)], text);
            _byteCount -= length;
            _bytes.AsSpan(length, _byteCount).CopyTo(_bytes);
        }
    }
}
