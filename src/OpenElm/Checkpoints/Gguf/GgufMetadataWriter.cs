using System.Buffers.Binary;
using System.Text;

namespace OpenElm.Checkpoints.Gguf;

/// <summary>Writes metadata pairs, and the fields around them, little-endian.</summary>
internal sealed class GgufMetadataWriter : IDisposable
{
    readonly MemoryStream _bytes = new();

    /// <summary>Pairs so far.</summary>
    public int Count { get; private set; }

    public ReadOnlySpan<byte> Bytes => _bytes.GetBuffer().AsSpan(0, (int)_bytes.Length);

    public void String(string key, string value)
    {
        Key(key, GgufType.String);
        WriteString(_bytes, value);
    }

    public void UInt(string key, uint value)
    {
        Key(key, GgufType.UInt32);
        WriteUInt32(_bytes, value);
    }

    public void Float(string key, float value)
    {
        Key(key, GgufType.Float32);
        WriteUInt32(_bytes, BitConverter.SingleToUInt32Bits(value));
    }

    public void Bool(string key, bool value)
    {
        Key(key, GgufType.Bool);
        _bytes.WriteByte(value ? (byte)1 : (byte)0);
    }

    public void Strings(string key, IReadOnlyCollection<string> values) => Array(key, GgufType.String, values, WriteString);

    public void Floats(string key, IReadOnlyCollection<float> values) => Array(key, GgufType.Float32, values, (stream, value) => WriteUInt32(stream, BitConverter.SingleToUInt32Bits(value)));

    public void Ints(string key, IReadOnlyCollection<int> values) => Array(key, GgufType.Int32, values, (stream, value) => WriteUInt32(stream, (uint)value));

    public void Dispose() => _bytes.Dispose();

    public static void WriteString(Stream stream, string value)
    {
        byte[] bytes = Encoding.UTF8.GetBytes(value);
        WriteUInt64(stream, (ulong)bytes.Length);
        stream.Write(bytes);
    }

    public static void WriteUInt32(Stream stream, uint value)
    {
        Span<byte> bytes = stackalloc byte[4];
        BinaryPrimitives.WriteUInt32LittleEndian(bytes, value);
        stream.Write(bytes);
    }

    public static void WriteUInt64(Stream stream, ulong value)
    {
        Span<byte> bytes = stackalloc byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, value);
        stream.Write(bytes);
    }

    void Array<T>(string key, GgufType type, IReadOnlyCollection<T> values, Action<Stream, T> write)
    {
        Key(key, GgufType.Array);
        WriteUInt32(_bytes, (uint)type);
        WriteUInt64(_bytes, (ulong)values.Count);
        foreach (T value in values)
        {
            write(_bytes, value);
        }
    }

    void Key(string key, GgufType type)
    {
        Count++;
        WriteString(_bytes, key);
        WriteUInt32(_bytes, (uint)type);
    }
}
