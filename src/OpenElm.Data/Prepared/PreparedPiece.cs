using System.IO.Hashing;
using System.IO.MemoryMappedFiles;
using System.Runtime.InteropServices;

namespace OpenElm.Data.Prepared;

/// <summary>A memory-mapped file of tokens.</summary>
internal sealed unsafe class PreparedPiece : IDisposable
{
    readonly MemoryMappedFile _file;
    readonly MemoryMappedViewAccessor _view;
    readonly byte* _bytes;
    readonly long _length;
    readonly int _bytesPerToken;

    /// <summary>Maps a piece and checks its length and layout; <see cref="Verify"/> checks its bytes.</summary>
    public PreparedPiece(string path, PreparedPieceInfo info)
    {
        long length = Files.LocalFiles.Instance.LengthOf(path) ?? throw new OpenElmException($"{path} is missing; prepare the data again.");
        if (length != info.Bytes)
        {
            throw Damaged(path, $"it has {length} bytes and should have {info.Bytes}");
        }

        _length = length;
        _file = MemoryMappedFile.CreateFromFile(path, FileMode.Open, null, 0, MemoryMappedFileAccess.Read);
        _view = _file.CreateViewAccessor(0, 0, MemoryMappedFileAccess.Read);
        _view.SafeMemoryMappedViewHandle.AcquirePointer(ref _bytes);
        _bytes += _view.PointerOffset;
        PieceHeader header = length < PieceHeader.Size ? default : MemoryMarshal.Read<PieceHeader>(new ReadOnlySpan<byte>(_bytes, PieceHeader.Size));
        _bytesPerToken = header.BytesPerToken;
        long expected = PieceHeader.Size + ((long)TextEntry.Size * header.Texts) + (header.BytesPerToken * header.Tokens);
        if (header.Magic != PieceHeader.ExpectedMagic || header.Texts != info.Texts || header.Tokens != info.Tokens
            || header.BytesPerToken is not (sizeof(ushort) or sizeof(int)) || expected != length)
        {
            Dispose();
            throw Damaged(path, "its header does not fit the manifest");
        }

        Texts = header.Texts;
    }

    /// <summary>Number of texts.</summary>
    public int Texts { get; }

    /// <summary>One text's entry.</summary>
    public TextEntry this[int text] => MemoryMarshal.Read<TextEntry>(new ReadOnlySpan<byte>(_bytes + PieceHeader.Size + ((long)text * TextEntry.Size), TextEntry.Size));

    /// <summary>Copies the tokens of a text to <paramref name="target"/> [entry.Stored].</summary>
    public void CopyTokens(TextEntry entry, Span<int> target)
    {
        byte* tokens = _bytes + PieceHeader.Size + ((long)Texts * TextEntry.Size) + (entry.FirstToken * _bytesPerToken);
        if (_bytesPerToken == sizeof(int))
        {
            new ReadOnlySpan<byte>(tokens, entry.Stored * sizeof(int)).CopyTo(MemoryMarshal.AsBytes(target));
            return;
        }

        // Header and entries are multiples of 4 bytes, so the tokens are aligned.
        var narrow = new ReadOnlySpan<ushort>(tokens, entry.Stored);
        for (int i = 0; i < narrow.Length; i++)
        {
            target[i] = narrow[i];
        }
    }

    /// <summary>The first text at or behind a place.</summary>
    public int Find(long record, int group)
    {
        (int low, int high) = (0, Texts);
        while (low < high)
        {
            int middle = (low + high) / 2;
            TextEntry entry = this[middle];
            (low, high) = entry.Record < record || (entry.Record == record && entry.Group < group) ? (middle + 1, high) : (low, middle);
        }

        return low;
    }

    /// <summary>Compares the checksum of all bytes.</summary>
    public void Verify(string path, string xxHash3)
    {
        var hash = new XxHash3();
        const int Part = 1 << 24;
        for (long at = 0; at < _length; at += Part)
        {
            hash.Append(new ReadOnlySpan<byte>(_bytes + at, (int)Math.Min(Part, _length - at)));
        }

        if (Convert.ToHexStringLower(hash.GetCurrentHash()) != xxHash3)
        {
            throw Damaged(path, "its checksum does not fit the manifest");
        }
    }

    static OpenElmException Damaged(string path, string how) => new($"{path} is damaged: {how}; prepare the data again.");

    public void Dispose()
    {
        _view.SafeMemoryMappedViewHandle.ReleasePointer();
        _view.Dispose();
        _file.Dispose();
    }
}
