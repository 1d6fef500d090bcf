using System.Buffers.Binary;

namespace OpenElm.Tokenization;

/// <summary>Reads the fields of one protobuf message in order; <see cref="ProtobufWriter"/> is its counterpart.</summary>
internal ref struct ProtobufReader(ReadOnlySpan<byte> message)
{
    readonly ReadOnlySpan<byte> _message = message;
    int _position;
    int _wireType;

    /// <summary>Number of the field that <see cref="Next"/> moved to.</summary>
    public int Field { get; private set; }

    /// <summary>Moves to the next field.</summary>
    /// <returns>False at the end of the message.</returns>
    public bool Next()
    {
        if (_position == _message.Length)
        {
            return false;
        }
        ulong tag = Varint();
        if (tag >> 3 is 0 or > int.MaxValue)
        {
            throw Damaged($"field number {tag >> 3} is impossible");
        }
        Field = (int)(tag >> 3);
        _wireType = (int)(tag & 7);
        return true;
    }

    public void Skip()
    {
        switch (_wireType)
        {
            case 0: Varint(); break;
            case 1: Take(8); break;
            case 2: Take(Length()); break;
            case 5: Take(4); break;
            default: throw Damaged($"wire type {_wireType} is not known");
        }
    }

    public ReadOnlySpan<byte> Bytes()
    {
        Expect(2);
        return Take(Length());
    }

    public long Integer()
    {
        Expect(0);
        return (long)Varint();
    }

    public bool Boolean() => Integer() != 0;

    public float Single()
    {
        Expect(5);
        return BinaryPrimitives.ReadSingleLittleEndian(Take(4));
    }

    readonly void Expect(int wireType)
    {
        if (_wireType != wireType)
        {
            throw Damaged($"field {Field} has wire type {_wireType} instead of {wireType}");
        }
    }

    int Length()
    {
        ulong length = Varint();
        return length <= (ulong)(_message.Length - _position)
            ? (int)length
            : throw Damaged($"field {Field} needs {length} bytes and {_message.Length - _position} are left");
    }

    ReadOnlySpan<byte> Take(int count)
    {
        if (count > _message.Length - _position)
        {
            throw Damaged($"field {Field} needs {count} bytes and {_message.Length - _position} are left");
        }
        ReadOnlySpan<byte> taken = _message.Slice(_position, count);
        _position += count;
        return taken;
    }

    ulong Varint()
    {
        ulong value = 0;
        for (int shift = 0; shift < 70; shift += 7)
        {
            if (_position == _message.Length)
            {
                throw Damaged("it ends inside a number");
            }
            byte b = _message[_position++];
            value |= (ulong)(b & 0x7F) << shift;
            if (b < 0x80)
            {
                return value;
            }
        }
        throw Damaged("a number has more than ten bytes");
    }

    readonly OpenElmException Damaged(string why) =>
        new($"not a SentencePiece model, or a damaged one: {why} (byte {_position} of a message of {_message.Length} bytes)");
}
