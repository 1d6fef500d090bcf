using System.Buffers.Binary;
using System.Numerics;
using System.Text;

namespace OpenElm.Training.Reporting;

/// <summary>
/// TensorBoard's event file: records of [length, its checksum, an Event in protobuf, its checksum].
/// TorchSharp's own writer reopens the file for every value and needs the native library for its checksum; this one needs neither.
/// </summary>
internal sealed class TensorBoardEvents : IDisposable
{
    readonly Stream _file;
    readonly TimeProvider _time;

    public TensorBoardEvents(Stream file, TimeProvider time)
    {
        (_file, _time) = (file, time);
        WriteEvent(step: 0, message => message.WriteText(field: 3, "brain.Event:2")); // the version every reader asks for first
    }

    /// <summary>Writes values that belong to one step; NaN stands for "not known" and is left out.</summary>
    public void WriteScalars(long step, params ReadOnlySpan<(string Tag, double Value)> scalars)
    {
        var summary = new ProtobufMessage();
        foreach ((string tag, double value) in scalars)
        {
            if (!double.IsNaN(value))
            {
                var scalar = new ProtobufMessage();
                scalar.WriteText(field: 1, tag);
                scalar.WriteFloat(field: 2, (float)value);
                summary.WriteMessage(field: 1, scalar);
            }
        }

        WriteEvent(step, message => message.WriteMessage(field: 5, summary));
    }

    public void Dispose() => _file.Dispose();

    void WriteEvent(long step, Action<ProtobufMessage> content)
    {
        var message = new ProtobufMessage();
        message.WriteDouble(field: 1, _time.GetUtcNow().ToUnixTimeMilliseconds() / 1000.0);
        message.WriteVarint(field: 2, (ulong)step);
        content(message);
        WriteRecord(message.ToArray());
    }

    void WriteRecord(byte[] data)
    {
        var record = new byte[8 + 4 + data.Length + 4];
        BinaryPrimitives.WriteInt64LittleEndian(record, data.Length);
        BinaryPrimitives.WriteUInt32LittleEndian(record.AsSpan(8), MaskedCrc32C(record.AsSpan(0, 8)));
        data.CopyTo(record, 12);
        BinaryPrimitives.WriteUInt32LittleEndian(record.AsSpan(12 + data.Length), MaskedCrc32C(data));
        _file.Write(record); // one write, so that a killed process leaves whole records but perhaps the last
        _file.Flush();
    }

    /// <summary>CRC-32C, rotated and offset as the record format asks, so that a checksum of a checksum is no trivial value.</summary>
    internal static uint MaskedCrc32C(ReadOnlySpan<byte> data)
    {
        uint crc = uint.MaxValue;
        foreach (byte b in data)
        {
            crc = BitOperations.Crc32C(crc, b);
        }

        return BitOperations.RotateRight(~crc, 15) + 0xa282ead8;
    }

    /// <summary>The four kinds of protobuf field that an event needs.</summary>
    sealed class ProtobufMessage
    {
        readonly List<byte> _bytes = [];

        public byte[] ToArray() => [.. _bytes];

        public void WriteVarint(int field, ulong value)
        {
            WriteRaw((ulong)(field << 3));
            WriteRaw(value);
        }

        public void WriteDouble(int field, double value)
        {
            Span<byte> bytes = stackalloc byte[8];
            BinaryPrimitives.WriteDoubleLittleEndian(bytes, value);
            WriteRaw((ulong)((field << 3) | 1));
            _bytes.AddRange(bytes);
        }

        public void WriteFloat(int field, float value)
        {
            Span<byte> bytes = stackalloc byte[4];
            BinaryPrimitives.WriteSingleLittleEndian(bytes, value);
            WriteRaw((ulong)((field << 3) | 5));
            _bytes.AddRange(bytes);
        }

        public void WriteText(int field, string value) => WriteBytes(field, Encoding.UTF8.GetBytes(value));

        public void WriteMessage(int field, ProtobufMessage value) => WriteBytes(field, value.ToArray());

        void WriteBytes(int field, byte[] value)
        {
            WriteRaw((ulong)((field << 3) | 2));
            WriteRaw((ulong)value.Length);
            _bytes.AddRange(value);
        }

        void WriteRaw(ulong value)
        {
            for (; value >= 0x80; value >>= 7)
            {
                _bytes.Add((byte)(value | 0x80));
            }

            _bytes.Add((byte)value);
        }
    }
}
