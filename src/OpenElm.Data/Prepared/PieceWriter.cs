using System.Collections.Immutable;
using System.IO.Hashing;
using System.Runtime.InteropServices;
using OpenElm.Data.Texts;

namespace OpenElm.Data.Prepared;

/// <summary>Writes one corpus file's texts as pieces below a size; a text that is larger alone gets a piece of its own.</summary>
internal sealed class PieceWriter(string folder, int fileIndex, int bytesPerToken, long pieceBytes)
{
    readonly ImmutableArray<PreparedPieceInfo>.Builder _pieces = ImmutableArray.CreateBuilder<PreparedPieceInfo>();
    readonly List<TextEntry> _texts = [];
    readonly List<int> _tokens = [];

    public void Add(FileTexts text)
    {
        long bytes = PieceHeader.Size + (TextEntry.Size * (_texts.Count + 1L)) + (bytesPerToken * ((long)_tokens.Count + text.Tokens.Length));
        if (bytes > pieceBytes && _texts.Count > 0)
        {
            WritePiece();
        }

        _texts.Add(new TextEntry(text.Record, _tokens.Count, text.Group, text.TokenCount, text.Tokens.Length));
        _tokens.AddRange(text.Tokens);
    }

    public ImmutableArray<PreparedPieceInfo> Finish()
    {
        if (_texts.Count > 0)
        {
            WritePiece();
        }

        return _pieces.ToImmutable();
    }

    void WritePiece()
    {
        string name = $"{fileIndex:d5}-{_pieces.Count:d3}.tokens";
        var hash = new XxHash3();
        long length = 0;
        // The folder as a whole is written atomically, so this file needs no temporary name.
        using (var stream = new FileStream(Path.Combine(folder, name), FileMode.CreateNew, FileAccess.Write, FileShare.None, bufferSize: 0))
        {
            Write(MemoryMarshal.AsBytes([new PieceHeader(PieceHeader.ExpectedMagic, bytesPerToken, _texts.Count, _tokens.Count, 0)]));
            Write(MemoryMarshal.AsBytes(CollectionsMarshal.AsSpan(_texts)));
            Span<int> tokens = CollectionsMarshal.AsSpan(_tokens);
            Write(bytesPerToken == sizeof(int) ? MemoryMarshal.AsBytes(tokens) : MemoryMarshal.AsBytes<ushort>(Narrow(tokens)));

            void Write(ReadOnlySpan<byte> bytes)
            {
                stream.Write(bytes);
                hash.Append(bytes);
                length += bytes.Length;
            }
        }

        _pieces.Add(new PreparedPieceInfo(name, _texts.Count, _tokens.Count, length, Convert.ToHexStringLower(hash.GetCurrentHash())));
        _texts.Clear();
        _tokens.Clear();
    }

    static ushort[] Narrow(ReadOnlySpan<int> tokens)
    {
        var narrow = new ushort[tokens.Length];
        for (int i = 0; i < tokens.Length; i++)
        {
            narrow[i] = checked((ushort)tokens[i]);
        }

        return narrow;
    }
}
