using System.Buffers;
using System.Buffers.Binary;
using System.Text;

namespace OpenElm.Tokenization;

/// <summary>Writes the fields of one protobuf message; <see cref="ProtobufReader"/> is its counterpart.</summary>
internal sealed class ProtobufWriter
{
    readonly ArrayBufferWriter<byte> _buffer = new();

    /// <summary>Forgets the fields, to write another message.</summary>
    public void Clear() => _buffer.ResetWrittenCount();

    public byte[] ToArray() => _buffer.WrittenSpan.ToArray();

    public void Bytes(int field, ReadOnlySpan<byte> value)
    {
        Tag(field, 2);
        Varint((ulong)value.Length);
        _buffer.Write(value);
    }

    public void String(int field, string value)
    {
        Tag(field, 2);
        int length = Encoding.UTF8.GetByteCount(value);
        Varint((ulong)length);
        _buffer.Advance(Encoding.UTF8.GetBytes(value, _buffer.GetSpan(length)));
    }

    public void Message(int field, ProtobufWriter value) => Bytes(field, value._buffer.WrittenSpan);

    public void Integer(int field, long value)
    {
        Tag(field, 0);
        Varint((ulong)value);
    }

    public void Boolean(int field, bool value) => Integer(field, value ? 1 : 0);

    public void Single(int field, float value)
    {
        Tag(field, 5);
        BinaryPrimitives.WriteSingleLittleEndian(_buffer.GetSpan(sizeof(float)), value);
        _buffer.Advance(sizeof(float));
    }

    void Tag(int field, int wireType) => Varint(((ulong)field << 3) | (uint)wireType);

    void Varint(ulong value)
    {
        Span<byte> bytes = stackalloc byte[10];
        int count = 0;
        for (; value >= 0x80; value >>= 7)
        {
            bytes[count++] = (byte)(value | 0x80);
        }
        bytes[count++] = (byte)value;
        _buffer.Write(bytes[..count]);
    }
}
