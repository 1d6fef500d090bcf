using System.Text;

namespace OpenElm.Tests.Checkpoints;

/// <summary>A GGUF file put together field by field, so that a test can choose each: F32 tensors that count 0, 1, 2, … from a number of their own.</summary>
internal sealed class GgufFileByHand
{
    public uint Version { get; set; } = 3;

    public int Alignment { get; set; } = 32;

    public ulong? TensorCount { get; set; }

    public long? PairCount { get; set; }

    public Dictionary<string, object> Metadata { get; } = [];

    /// <summary>Shapes, outermost first.</summary>
    public SortedDictionary<string, long[]> Tensors { get; init; } = [];

    public Func<string, uint> TypeOf { get; set; } = _ => 0;

    public Func<string, ulong, ulong> OffsetOf { get; set; } = (_, offset) => offset;

    public IEnumerable<float> Values(string name) =>
        Enumerable.Range(100 * Tensors.Keys.Order(StringComparer.Ordinal).ToList().IndexOf(name), (int)Tensors[name].Aggregate(1L, (a, b) => a * b)).Select(i => (float)i);

    public void Rename(string from, string to)
    {
        Tensors[to] = Tensors[from];
        Tensors.Remove(from);
    }

    public void Write(string path)
    {
        using FileStream stream = File.Create(path);
        using var writer = new BinaryWriter(stream);
        if (Alignment != 32)
        {
            Metadata["general.alignment"] = (uint)Alignment;
        }

        writer.Write("GGUF"u8);
        writer.Write(Version);
        writer.Write(TensorCount ?? (ulong)Tensors.Count);
        writer.Write(PairCount ?? Metadata.Count);
        foreach ((string key, object value) in Metadata)
        {
            Text(writer, key);
            writer.Write(value is Array ? 9u : TypeNumber(value));
            if (value is Array array)
            {
                writer.Write(TypeNumber(array.GetValue(0)!));
                writer.Write((ulong)array.Length);
                foreach (object item in array)
                {
                    Value(writer, item);
                }
            }
            else
            {
                Value(writer, value);
            }
        }

        ulong offset = 0;
        foreach ((string name, long[] shape) in Tensors)
        {
            Text(writer, name);
            writer.Write((uint)shape.Length);
            Array.ForEach([.. shape.Reverse()], writer.Write);
            writer.Write(TypeOf(name));
            writer.Write(OffsetOf(name, offset));
            offset += (ulong)((shape.Aggregate(4L, (a, b) => a * b) + Alignment - 1) / Alignment * Alignment);
        }

        foreach (string name in Tensors.Keys)
        {
            stream.Position = (stream.Position + Alignment - 1) / Alignment * Alignment;
            foreach (float value in Values(name))
            {
                writer.Write(value);
            }
        }
    }

    static uint TypeNumber(object value) => value switch { uint => 4, int => 5, float => 6, bool => 7, string => 8, ulong => 10, _ => throw new ArgumentException(value.ToString()) };

    static void Value(BinaryWriter writer, object value)
    {
        switch (value)
        {
            case uint number: writer.Write(number); break;
            case int number: writer.Write(number); break;
            case float number: writer.Write(number); break;
            case bool flag: writer.Write(flag); break;
            case ulong number: writer.Write(number); break;
            default: Text(writer, (string)value); break;
        }
    }

    static void Text(BinaryWriter writer, string text)
    {
        byte[] bytes = Encoding.UTF8.GetBytes(text);
        writer.Write((ulong)bytes.Length);
        writer.Write(bytes);
    }
}
