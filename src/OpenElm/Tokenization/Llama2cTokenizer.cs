using System.Buffers.Binary;
using System.Collections.Immutable;
using System.Text;
using OpenElm.IO;

namespace OpenElm.Tokenization;

/// <summary>
/// The tokenizer file of llama2.c (<c>tokenizer.bin</c>, <c>tok512.bin</c>): the length of the longest piece, then score, length
/// and bytes of each piece; a blank is a blank. Ids 0 to 2 are the special pieces, 3 to 258 the bytes.
/// </summary>
public static class Llama2cTokenizer
{
    const int FirstByteId = 3;
    const int HeaderBytes = 4;
    const int PieceHeaderBytes = 8;

    static readonly UTF8Encoding StrictUtf8 = new(false, throwOnInvalidBytes: true);

    /// <summary>Reads a file as the SentencePiece model that gives the same ids.</summary>
    /// <param name="path">The file.</param>
    /// <param name="pieceCount">Number of pieces, which the file does not say: the model's vocabulary.</param>
    /// <returns>The tokenizer; its <see cref="SentencePieceTokenizer.ModelBytes"/> are a <c>tokenizer.model</c>.</returns>
    /// <exception cref="OpenElmException">The file cannot be read, is damaged, or has another number of pieces.</exception>
    public static SentencePieceTokenizer Read(string path, int pieceCount)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(pieceCount);
        try
        {
            return Parse(File.ReadAllBytes(path), pieceCount);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new OpenElmException($"Cannot read the tokenizer {path}: {e.Message}", e);
        }
        catch (OpenElmException e)
        {
            throw new OpenElmException($"{path}: {e.Message}", e);
        }
    }

    static SentencePieceTokenizer Parse(ReadOnlySpan<byte> file, int pieceCount)
    {
        var pieces = ImmutableArray.CreateBuilder<Piece>(pieceCount);
        int position = HeaderBytes;
        for (int id = 0; id < pieceCount; id++)
        {
            if (file.Length - position < PieceHeaderBytes)
            {
                throw new OpenElmException($"not a llama2.c tokenizer of {pieceCount} pieces: it ends before piece {id}");
            }
            float score = BinaryPrimitives.ReadSingleLittleEndian(file[position..]);
            int length = BinaryPrimitives.ReadInt32LittleEndian(file[(position + 4)..]);
            position += PieceHeaderBytes;
            if (length < 0 || length > file.Length - position)
            {
                throw new OpenElmException($"not a llama2.c tokenizer of {pieceCount} pieces: piece {id} would have {length} bytes");
            }
            pieces.Add(ReadPiece(id, score, file.Slice(position, length)));
            position += length;
        }
        if (position != file.Length)
        {
            throw new OpenElmException($"not a llama2.c tokenizer of {pieceCount} pieces: {file.Length - position} bytes are left over");
        }
        var model = new SentencePieceModel
        {
            Pieces = pieces.ToImmutable(),
            ModelType = SentencePieceModel.BpeModelType,
            ByteFallback = true,
            RemoveExtraBlanks = false,
        };
        return SentencePieceTokenizer.Parse(SentencePieceModelWriter.Write(model));
    }

    // The file has names of its own for the special pieces ("\n<s>\n"), so they go by their ids.
    static Piece ReadPiece(int id, float score, ReadOnlySpan<byte> bytes)
    {
        switch (id)
        {
            case 0: return new Piece("<unk>", score, PieceType.Unknown);
            case 1: return new Piece("<s>", score, PieceType.Control);
            case 2: return new Piece("</s>", score, PieceType.Control);
            default: break;
        }
        string text;
        try
        {
            text = StrictUtf8.GetString(bytes);
        }
        catch (ArgumentException e)
        {
            throw new OpenElmException($"not a llama2.c tokenizer: piece {id} is not valid UTF-8", e);
        }
        if (id >= FirstByteId + 256)
        {
            return new Piece(text.Replace(' ', SentencePieceModel.BlankSymbol), score, PieceType.Normal);
        }
        return SentencePieceModel.ByteOf(text) == id - FirstByteId
            ? new Piece(text, score, PieceType.Byte)
            : throw new OpenElmException($"not a llama2.c tokenizer: piece {id} is '{text}' instead of the byte <0x{id - FirstByteId:X2}>");
    }

    /// <summary>Writes a tokenizer as a file of llama2.c.</summary>
    /// <param name="tokenizer">A tokenizer whose first pieces are those of LLaMA's: unknown, BOS, EOS, the 256 bytes.</param>
    /// <param name="path">The file.</param>
    /// <exception cref="OpenElmException">The first pieces are others, so llama2.c could not use the file.</exception>
    public static void Write(SentencePieceTokenizer tokenizer, string path)
    {
        ArgumentNullException.ThrowIfNull(tokenizer);
        SentencePieceModel model = tokenizer.Model;
        bool usable = tokenizer is { UnknownId: 0, BosId: 1, EosId: 2 }
            && Enumerable.Range(0, 256).All(value => tokenizer.IdOf($"<0x{value:X2}>") == FirstByteId + value);
        if (!usable)
        {
            throw new OpenElmException("llama2.c needs the pieces <unk>, <s>, </s> and the 256 bytes at ids 0 to 258; this tokenizer has them elsewhere.");
        }
        byte[][] texts = [.. model.Pieces.Select((piece, id) => Encoding.UTF8.GetBytes(
            id is 1 or 2 ? $"\n{piece.Text}\n" : piece.Text.Replace(SentencePieceModel.BlankSymbol, ' ')))];
        AtomicFile.Write(path, stream =>
        {
            Span<byte> header = stackalloc byte[PieceHeaderBytes];
            BinaryPrimitives.WriteInt32LittleEndian(header, texts.Max(text => text.Length));
            stream.Write(header[..HeaderBytes]);
            for (int id = 0; id < texts.Length; id++)
            {
                BinaryPrimitives.WriteSingleLittleEndian(header, model.Pieces[id].Score);
                BinaryPrimitives.WriteInt32LittleEndian(header[4..], texts[id].Length);
                stream.Write(header);
                stream.Write(texts[id]);
            }
        });
    }
}
