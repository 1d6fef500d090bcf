using System.Buffers.Binary;
using System.Text;

namespace OpenElm.Checkpoints.Gguf;

/// <summary>Reads little-endian fields one after the other; whatever would leave the file is refused with the field's name.</summary>
internal sealed class GgufCursor(MappedFile file)
{
    static readonly UTF8Encoding StrictUtf8 = new(false, throwOnInvalidBytes: true);

    /// <summary>The next byte.</summary>
    public long Position { get; private set; }

    /// <summary>Bytes that are left.</summary>
    public long Left => file.Length - Position;

    public uint UInt32(string field) => BinaryPrimitives.ReadUInt32LittleEndian(Take(4, field));

    public ulong UInt64(string field) => BinaryPrimitives.ReadUInt64LittleEndian(Take(8, field));

    /// <summary>A number of things that follow, each of so many bytes at least: more than fit into the file are refused before anything is allocated.</summary>
    public int Count(string field, int bytesOfEach)
    {
        ulong count = UInt64(field);
        return count <= (ulong)(Left / bytesOfEach) && count <= int.MaxValue
            ? (int)count
            : throw Damaged(field, $"is {count}, and only {Left} bytes follow");
    }

    /// <summary>A string; <paramref name="index"/> tells it from its neighbours in an array.</summary>
    public string String(string field, int index = -1)
    {
        // Names are put together only for a message: a vocabulary has tens of thousands of strings.
        string Name() => index < 0 ? field : $"{field}[{index}]";

        ulong length = Left >= 8 ? UInt64(field) : throw Damaged(Name(), "is cut off");
        if (length > (ulong)Left)
        {
            throw Damaged(Name(), $"would have {length} bytes, and only {Left} follow");
        }

        ReadOnlySpan<byte> bytes = Take((int)Math.Min(length, int.MaxValue), field);
        try
        {
            return StrictUtf8.GetString(bytes);
        }
        catch (ArgumentException e)
        {
            throw new OpenElmException($"{file.Path} is damaged: {Name()} is not valid UTF-8 (before byte {Position}).", e);
        }
    }

    public ReadOnlySpan<byte> Take(int count, string field)
    {
        if (count > Left)
        {
            throw Damaged(field, $"needs {count} bytes, and only {Left} are left");
        }

        ReadOnlySpan<byte> bytes = file.Bytes(Position, count);
        Position += count;
        return bytes;
    }

    public OpenElmException Damaged(string field, string problem) => new($"{file.Path} is truncated or damaged: {field} {problem} (byte {Position}).");
}
