using System.Buffers.Binary;
using System.Collections.Immutable;
using System.Runtime.InteropServices;

namespace OpenElm.Checkpoints.Gguf;

/// <summary>
/// A memory-mapped GGUF file, version 2 or 3: magic, version, numbers of tensors and of metadata pairs, the pairs, an entry
/// for each tensor (name, sizes with the innermost first, type, offset), then the data, aligned.
/// </summary>
internal sealed class GgufFile : IDisposable
{
    public const string Magic = "GGUF";
    public const int DefaultAlignment = 32;
    public const string AlignmentKey = "general.alignment";

    const int MostDimensions = 4;
    const int SmallestPair = 8 + 4 + 1, SmallestEntry = 8 + 4 + 4 + 8;

    readonly MappedFile _file;

    GgufFile(MappedFile file, GgufMetadata metadata, ImmutableSortedDictionary<string, TensorView> tensors) =>
        (_file, Metadata, Tensors) = (file, metadata, tensors);

    public GgufMetadata Metadata { get; }

    /// <summary>The tensors by name, sizes outermost first.</summary>
    public ImmutableSortedDictionary<string, TensorView> Tensors { get; }

    /// <summary>Opens a file; nothing is read but the header.</summary>
    /// <exception cref="OpenElmException">The file is missing, truncated, damaged, or holds a type that is not supported.</exception>
    public static GgufFile Open(string path)
    {
        var file = MappedFile.Open(path);
        try
        {
            var cursor = new GgufCursor(file);
            if (!cursor.Take(4, "the magic number").SequenceEqual("GGUF"u8))
            {
                throw new OpenElmException($"{path} is no GGUF file: it does not begin with {Magic}.");
            }

            uint version = cursor.UInt32("the version");
            if (version is not (2 or 3))
            {
                throw new OpenElmException((version & 0xFFFF) == 0
                    ? $"{path} is a big-endian GGUF file, which is not supported; convert it to little-endian."
                    : $"{path} is a GGUF file of version {version}; versions 2 and 3 are supported.");
            }

            ulong tensorCount = cursor.UInt64("the number of tensors");
            int pairs = cursor.Count("the number of metadata pairs", SmallestPair);
            GgufMetadata metadata = ReadMetadata(path, cursor, pairs);
            if (tensorCount > (ulong)(cursor.Left / SmallestEntry))
            {
                throw cursor.Damaged("the number of tensors", $"is {tensorCount}, and only {cursor.Left} bytes follow");
            }

            var tensors = ReadTensors(file, cursor, (int)tensorCount, Alignment(path, metadata));
            TensorOverlap.Refuse(path, tensors.Values);
            return new GgufFile(file, metadata, tensors);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    public void Dispose() => _file.Dispose();

    static GgufMetadata ReadMetadata(string path, GgufCursor cursor, int pairs)
    {
        var values = ImmutableDictionary.CreateBuilder<string, object>();
        for (int i = 0; i < pairs; i++)
        {
            string key = cursor.String("key", i);
            if (!values.TryAdd(key, ReadValue(cursor, key)))
            {
                throw new OpenElmException($"{path} is damaged: the metadata {key} is there twice.");
            }
        }

        return new GgufMetadata(path, values.ToImmutable());
    }

    static object ReadValue(GgufCursor cursor, string key)
    {
        var type = (GgufType)cursor.UInt32($"the type of {key}");
        if (type != GgufType.Array)
        {
            return ReadArray(cursor, key, type, 1).GetValue(0)!;
        }

        var items = (GgufType)cursor.UInt32($"the type of the items of {key}");
        return items != GgufType.Array
            ? ReadArray(cursor, key, items, cursor.Count($"the length of {key}", items.Size()))
            : throw cursor.Damaged(key, "holds arrays of arrays, which no program writes");
    }

    static Array ReadArray(GgufCursor cursor, string key, GgufType type, int count)
    {
        T[] Numbers<T>()
            where T : unmanaged => MemoryMarshal.Cast<byte, T>(cursor.Take(checked(count * type.Size()), key)).ToArray();

        switch (type)
        {
            case GgufType.UInt8: return Numbers<byte>();
            case GgufType.Int8: return Numbers<sbyte>();
            case GgufType.UInt16: return Numbers<ushort>();
            case GgufType.Int16: return Numbers<short>();
            case GgufType.UInt32: return Numbers<uint>();
            case GgufType.Int32: return Numbers<int>();
            case GgufType.Float32: return Numbers<float>();
            case GgufType.Bool: return System.Array.ConvertAll(Numbers<byte>(), value => value != 0);
            case GgufType.UInt64: return Numbers<ulong>();
            case GgufType.Int64: return Numbers<long>();
            case GgufType.Float64: return Numbers<double>();
            case GgufType.String:
                string[] strings = new string[count];
                for (int i = 0; i < count; i++)
                {
                    strings[i] = cursor.String(key, i);
                }

                return strings;
            default: throw cursor.Damaged(key, $"has the type {(uint)type}, which does not exist");
        }
    }

    static int Alignment(string path, GgufMetadata metadata) =>
        metadata.Int(AlignmentKey) is not { } alignment ? DefaultAlignment
        : alignment >= 1 && (alignment & (alignment - 1)) == 0 ? alignment
        : throw new OpenElmException($"{path}: {AlignmentKey} is {alignment}; it must be a power of two.");

    static ImmutableSortedDictionary<string, TensorView> ReadTensors(MappedFile file, GgufCursor cursor, int count, int alignment)
    {
        var entries = new (string Name, DType Type, ImmutableArray<long> Shape, long Bytes, ulong Offset)[count];
        for (int i = 0; i < count; i++)
        {
            string name = cursor.String("the name of tensor", i);
            uint dimensions = cursor.UInt32($"the number of dimensions of {name}");
            if (dimensions is 0 or > MostDimensions)
            {
                throw cursor.Damaged(name, $"has {dimensions} dimensions; 1 to {MostDimensions} are possible");
            }

            ReadOnlySpan<byte> sizes = cursor.Take((int)dimensions * sizeof(long), $"the sizes of {name}");
            long[] shape = new long[dimensions];
            for (int d = 0; d < dimensions; d++)
            {
                shape[^(d + 1)] = BinaryPrimitives.ReadInt64LittleEndian(sizes[(d * sizeof(long))..]); // innermost first in the file
            }

            uint type = cursor.UInt32($"the type of {name}");
            DType dtype = GgufTensorTypes.TypeOf(type)
                ?? throw new OpenElmException($"{file.Path}: the tensor {name} has the type {GgufTensorTypes.NameOf(type)}, which is not supported; quantise the model again as {GgufTensorTypes.Writable}.");
            entries[i] = (name, dtype, [.. shape], ByteCount(cursor, name, dtype, [.. shape]), cursor.UInt64($"the offset of {name}"));
        }

        long start = checked(cursor.Position + alignment - 1) / alignment * alignment;
        var tensors = ImmutableSortedDictionary.CreateBuilder<string, TensorView>(StringComparer.Ordinal);
        foreach ((string name, DType type, ImmutableArray<long> shape, long bytes, ulong offset) in entries)
        {
            if (offset % (ulong)alignment != 0 || offset > (ulong)file.Length || !file.Holds(start + (long)offset, bytes))
            {
                throw new OpenElmException(
                    $"{file.Path} is truncated or damaged: the tensor {name} ({type} [{string.Join(", ", shape)}]) has {bytes} bytes at offset {offset} of the data, which begins at byte {start} of {file.Length}.");
            }

            if (!tensors.TryAdd(name, new TensorView(name, type, shape, file.AddressOf(start + (long)offset, bytes), bytes)))
            {
                throw new OpenElmException($"{file.Path} is damaged: the tensor {name} is there twice.");
            }
        }

        return tensors.ToImmutable();
    }

    static long ByteCount(GgufCursor cursor, string name, DType type, ImmutableArray<long> shape)
    {
        try
        {
            return shape.All(size => size >= 0) ? type.ByteCount(shape) : throw cursor.Damaged(name, $"has the sizes [{string.Join(", ", shape)}]");
        }
        catch (Exception e) when (e is ArgumentException or OverflowException)
        {
            throw cursor.Damaged(name, $"has the sizes [{string.Join(", ", shape)}], which {type} cannot have");
        }
    }
}
