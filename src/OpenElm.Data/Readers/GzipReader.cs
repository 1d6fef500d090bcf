using System.Buffers.Binary;
using System.IO.Compression;
using System.IO.Hashing;

namespace OpenElm.Data.Readers;

/// <summary>
/// Decompresses gzip files of one or more members and checks each member's length and CRC-32. <see cref="GZipStream"/> ends
/// without a word where a file was cut off (seen with .NET 10), so a broken download would look like a shorter one.
/// </summary>
/// <remarks>
/// <see cref="DeflateStream"/> does not say how much of its last input it left over. Length and CRC are known by then, so the
/// trailer is found by looking for these 8 bytes in what was fed last.
/// </remarks>
internal sealed class GzipReader : ForwardOnlyStream
{
    const int TrailerLength = 8;

    readonly GzipInput _input;
    readonly Crc32 _crc = new();
    DeflateStream? _member;
    uint _length;

    public GzipReader(Stream file) => _input = new GzipInput(file);

    public override int Read(Span<byte> buffer)
    {
        while (true)
        {
            if (_member is null)
            {
                if (_input.AtEnd)
                {
                    return 0;
                }

                ReadHeader();
                _member = new DeflateStream(_input, CompressionMode.Decompress, leaveOpen: true);
                _crc.Reset();
                _length = 0;
            }

            int read = _member.Read(buffer);
            if (read > 0)
            {
                _crc.Append(buffer[..read]);
                _length += (uint)read;
                return read;
            }

            _member.Dispose();
            _member = null;
            FindTrailer();
        }
    }

    void ReadHeader()
    {
        const int ExtraField = 4, Name = 8, Comment = 16, HeaderChecksum = 2;
        Span<byte> header = stackalloc byte[10];
        for (int i = 0; i < header.Length; i++)
        {
            header[i] = _input.NextByte();
        }

        if (header is not [0x1F, 0x8B, 8, ..])
        {
            throw new InvalidDataException("there is no gzip header where one must be");
        }

        int flags = header[3];
        if ((flags & ExtraField) != 0)
        {
            for (int left = _input.NextByte() + (_input.NextByte() << 8); left > 0; left--)
            {
                _input.NextByte();
            }
        }

        for (int strings = int.PopCount(flags & (Name | Comment)); strings > 0; strings--)
        {
            while (_input.NextByte() != 0)
            {
            }
        }

        if ((flags & HeaderChecksum) != 0)
        {
            _input.NextByte();
            _input.NextByte();
        }
    }

    void FindTrailer()
    {
        Span<byte> trailer = stackalloc byte[TrailerLength];
        BinaryPrimitives.WriteUInt32LittleEndian(trailer, _crc.GetCurrentHashAsUInt32());
        BinaryPrimitives.WriteUInt32LittleEndian(trailer[4..], _length);
        if (!_input.MoveBehind(trailer))
        {
            throw new InvalidDataException("the gzip data ends early or its checksum is wrong");
        }
    }

    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            _member?.Dispose();
            _input.Dispose();
        }

        base.Dispose(disposing);
    }
}
