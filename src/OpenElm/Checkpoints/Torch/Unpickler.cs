using System.Buffers.Binary;
using System.Numerics;
using System.Text;

namespace OpenElm.Checkpoints.Torch;

/// <summary>
/// Reads the pickles that torch writes, and nothing else: containers, numbers, strings, and the calls that
/// <see cref="PickleClasses"/> lists. A pickle is a program for a stack machine; this one has no instruction that runs code,
/// and refuses every other by its name and place. Nothing recurses, and memory is bounded by the pickle's length.
/// </summary>
/// <param name="source">The file, for messages.</param>
/// <param name="pickle">The bytes.</param>
/// <param name="storages">Finds the storage that a persistent id names.</param>
internal sealed class Unpickler(string source, ReadOnlyMemory<byte> pickle, Func<PickleTuple, TorchStorage> storages)
{
    const int MostValues = 4_000_000;

    static readonly object Mark = new();
    static readonly UTF8Encoding StrictUtf8 = new(false, throwOnInvalidBytes: true);

    readonly List<object?> _stack = [];
    readonly Dictionary<uint, object?> _memo = [];
    readonly PickleClasses _classes = new(source);
    int _position;
    int _opcodeAt;
    int _values;

    /// <summary>Runs the pickle.</summary>
    /// <returns>What it leaves.</returns>
    /// <exception cref="OpenElmException">It is damaged, or asks for something that a checkpoint does not need.</exception>
    public object? Read()
    {
        while (true)
        {
            _opcodeAt = _position;
            byte opcode = Take(1)[0];
            if (opcode == (byte)'.')
            {
                return Pop();
            }

            Execute(opcode);
        }
    }

    void Execute(byte opcode)
    {
        switch ((char)opcode)
        {
            case '\x80': RequireProtocol(Take(1)[0]); break;
            case '\x95': Take(8); break; // FRAME: a hint for buffering
            case '(': Push(Mark); break;
            case 'N': Push(null); break;
            case '\x88': Push(true); break;
            case '\x89': Push(false); break;
            case 'J': Push((long)BinaryPrimitives.ReadInt32LittleEndian(Take(4))); break;
            case 'K': Push((long)Take(1)[0]); break;
            case 'M': Push((long)BinaryPrimitives.ReadUInt16LittleEndian(Take(2))); break;
            case '\x8a': PushInteger(Take(Take(1)[0])); break;
            case 'G': Push(BinaryPrimitives.ReadDoubleBigEndian(Take(8))); break;
            case 'X': Push(Text(BinaryPrimitives.ReadUInt32LittleEndian(Take(4)))); break;
            case '\x8c': Push(Text(Take(1)[0])); break;
            case 'B': Push(Take(BinaryPrimitives.ReadUInt32LittleEndian(Take(4))).ToArray()); break;
            case 'C': Push(Take(Take(1)[0]).ToArray()); break;
            case ')': Push(new PickleTuple([])); break;
            case '\x85': PushTuple(1); break;
            case '\x86': PushTuple(2); break;
            case '\x87': PushTuple(3); break;
            case 't': Push(new PickleTuple(PopToMark())); break;
            case ']': Push(new PickleList()); break;
            case 'a': Append([Pop()]); break;
            case 'e': Append(PopToMark()); break;
            case '}': Push(new PickleDictionary()); break;
            case 's': SetItems(PopSeveral(2)); break;
            case 'u': SetItems(PopToMark()); break;
            case 'q': _memo[Take(1)[0]] = Peek(); break;
            case 'r': _memo[BinaryPrimitives.ReadUInt32LittleEndian(Take(4))] = Peek(); break;
            case '\x94': _memo[(uint)_memo.Count] = Peek(); break;
            case 'h': Push(Recall(Take(1)[0])); break;
            case 'j': Push(Recall(BinaryPrimitives.ReadUInt32LittleEndian(Take(4)))); break;
            case 'c': Push(_classes.Find(Line(), Line(), _opcodeAt)); break;
            case '\x93': PushGlobal(); break;
            case 'Q': Push(storages(Pop() as PickleTuple ?? throw Damaged("a persistent id is no tuple"))); break;
            case 'R': Reduce(); break;
            case 'b': Build(); break;
            default: throw new OpenElmException($"{source} uses the pickle instruction {Name(opcode)} at byte {_opcodeAt}, which no checkpoint of weights needs; it was not run.");
        }
    }

    void RequireProtocol(byte protocol)
    {
        if (protocol is < 2 or > 5)
        {
            throw Damaged($"it is a pickle of protocol {protocol}; 2 to 5 are possible");
        }
    }

    void PushTuple(int count) => Push(new PickleTuple(PopSeveral(count)));

    void PushInteger(ReadOnlySpan<byte> bytes) =>
        Push(bytes.Length <= 8 ? (long)new BigInteger(bytes) : new BigInteger(bytes));

    void PushGlobal()
    {
        object?[] names = PopSeveral(2);
        Push(names is [string module, string name] ? _classes.Find(module, name, _opcodeAt) : throw Damaged("the name of a class is no string"));
    }

    void Reduce()
    {
        object?[] call = PopSeveral(2);
        Push(call is [PickleGlobal function, PickleTuple arguments]
            ? _classes.Call(function, arguments.Items, _opcodeAt)
            : throw Damaged("something is called that is no function, or without a tuple of arguments"));
    }

    // The attributes of an OrderedDict (a state dict's _metadata) and of a NumPy type say nothing about weights.
    void Build()
    {
        Pop();
        if (Peek() is not (PickleDictionary or PickleInert))
        {
            throw Damaged($"attributes are set on {Describe(Peek())}");
        }
    }

    void Append(object?[] items)
    {
        if (Peek() is not PickleList list)
        {
            throw Damaged($"something is appended to {Describe(Peek())}");
        }

        list.Items.AddRange(items);
    }

    void SetItems(object?[] pairs)
    {
        if (Peek() is not PickleDictionary dictionary || pairs.Length % 2 != 0)
        {
            throw Damaged($"{pairs.Length} keys and values are set on {Describe(Peek())}");
        }

        for (int i = 0; i < pairs.Length; i += 2)
        {
            dictionary[pairs[i] is string or long or double or bool ? pairs[i]! : throw Damaged($"a key is {Describe(pairs[i])}")] = pairs[i + 1];
        }
    }

    object? Recall(uint key) => _memo.TryGetValue(key, out object? value) ? value : throw Damaged($"it recalls the value {key}, which it never stored");

    void Push(object? value)
    {
        if (++_values > MostValues)
        {
            throw Damaged($"it makes more than {MostValues} values");
        }

        _stack.Add(value);
    }

    object? Peek() => _stack is [.., var top] && top != Mark ? top : throw Damaged("its stack is empty");

    object? Pop()
    {
        object? top = Peek();
        _stack.RemoveAt(_stack.Count - 1);
        return top;
    }

    object?[] PopSeveral(int count)
    {
        object?[] items = new object?[count];
        for (int i = 0; i < count; i++)
        {
            items[i] = _stack.Count >= count && _stack[_stack.Count - count + i] is var item && item != Mark ? item : throw Damaged("its stack is empty");
        }

        _stack.RemoveRange(_stack.Count - count, count);
        return items;
    }

    object?[] PopToMark()
    {
        int mark = _stack.LastIndexOf(Mark);
        if (mark < 0)
        {
            throw Damaged("a mark is missing");
        }

        object?[] items = _stack.GetRange(mark + 1, _stack.Count - mark - 1).ToArray();
        _stack.RemoveRange(mark, _stack.Count - mark);
        return items;
    }

    string Text(uint length)
    {
        ReadOnlySpan<byte> bytes = Take(length);
        try
        {
            return StrictUtf8.GetString(bytes);
        }
        catch (ArgumentException e)
        {
            throw new OpenElmException($"{source} is damaged: a string is not valid UTF-8 (byte {_opcodeAt}).", e);
        }
    }

    string Line()
    {
        int length = pickle.Span[_position..].IndexOf((byte)'\n');
        if (length < 0)
        {
            throw Damaged("the name of a class does not end");
        }

        string line = Text((uint)length);
        _position++;
        return line;
    }

    ReadOnlySpan<byte> Take(uint count)
    {
        if (count > (uint)(pickle.Length - _position))
        {
            throw Damaged($"{count} bytes are needed and {pickle.Length - _position} are left");
        }

        ReadOnlySpan<byte> bytes = pickle.Span.Slice(_position, (int)count);
        _position += (int)count;
        return bytes;
    }

    OpenElmException Damaged(string problem) => new($"{source} is damaged: {problem} (instruction at byte {_opcodeAt}).");

    static string Describe(object? value) => value switch
    {
        null => "None",
        string => "a string",
        _ => value.ToString()!,
    };

    static string Name(byte opcode) => opcode is > 32 and < 127 ? $"'{(char)opcode}'" : $"0x{opcode:X2}";
}
