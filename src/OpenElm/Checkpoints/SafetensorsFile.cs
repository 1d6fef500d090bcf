using System.Buffers.Binary;
using System.Collections.Immutable;
using System.Text.Json;

namespace OpenElm.Checkpoints;

/// <summary>
/// A memory-mapped safetensors file: 8 bytes of header length (little-endian), a JSON header
/// <c>{"name": {"dtype", "shape", "data_offsets": [begin, end]}, "__metadata__": {…}}</c>, then the data.
/// </summary>
public sealed class SafetensorsFile : IDisposable
{
    const long LongestHeader = 100_000_000; // the limit of the format's reference reader

    readonly MappedFile _file;

    SafetensorsFile(MappedFile file, ImmutableSortedDictionary<string, TensorView> tensors, ImmutableDictionary<string, string> metadata) =>
        (_file, Tensors, Metadata) = (file, tensors, metadata);

    /// <summary>The tensors by name.</summary>
    public ImmutableSortedDictionary<string, TensorView> Tensors { get; }

    /// <summary>The file's <c>__metadata__</c>.</summary>
    public ImmutableDictionary<string, string> Metadata { get; }

    /// <summary>Finds a tensor.</summary>
    /// <param name="name">Its name in the file.</param>
    /// <returns>The tensor.</returns>
    /// <exception cref="OpenElmException">There is none of this name.</exception>
    public TensorView this[string name] =>
        Tensors.TryGetValue(name, out TensorView tensor) ? tensor : throw new OpenElmException($"The file has no tensor {name}.");

    /// <summary>Opens a file; nothing is read but the header.</summary>
    /// <param name="path">The file.</param>
    /// <returns>The open file.</returns>
    /// <exception cref="OpenElmException">The file is missing, truncated or damaged.</exception>
    public static SafetensorsFile Open(string path)
    {
        MappedFile file = MappedFile.Open(path);
        try
        {
            if (file.Length < 8)
            {
                throw new OpenElmException($"{path} is {file.Length} bytes long; a safetensors file begins with 8 bytes of header length.");
            }

            long headerLength = BinaryPrimitives.ReadInt64LittleEndian(file.Bytes(0, 8));
            if (headerLength < 2 || headerLength > Math.Min(LongestHeader, file.Length - 8))
            {
                throw new OpenElmException($"{path} is no safetensors file or is truncated: it announces a header of {headerLength} bytes and is {file.Length} bytes long.");
            }

            long dataLength = file.Length - 8 - headerLength;
            (ImmutableSortedDictionary<string, TensorView> tensors, ImmutableDictionary<string, string> metadata) =
                ParseHeader(path, file.Bytes(8, (int)headerLength), file.AddressOf(8 + headerLength, dataLength), dataLength);
            TensorOverlap.Refuse(path, tensors.Values);
            return new SafetensorsFile(file, tensors, metadata);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>Tells the system that the bytes read so far need not stay in memory; they stay readable, and are read from the file again.</summary>
    public void ReleasePages() => _file.ReleasePages();

    /// <inheritdoc/>
    public void Dispose() => _file.Dispose();

    static (ImmutableSortedDictionary<string, TensorView> Tensors, ImmutableDictionary<string, string> Metadata) ParseHeader(
        string path, ReadOnlySpan<byte> header, nint data, long dataLength)
    {
        var tensors = ImmutableSortedDictionary.CreateBuilder<string, TensorView>(StringComparer.Ordinal);
        var metadata = ImmutableDictionary.CreateBuilder<string, string>();
        try
        {
            using JsonDocument document = JsonDocument.Parse(header.ToArray());
            foreach (JsonProperty entry in document.RootElement.EnumerateObject())
            {
                if (entry.Name == "__metadata__")
                {
                    foreach (JsonProperty pair in entry.Value.EnumerateObject())
                    {
                        metadata[pair.Name] = pair.Value.GetString() ?? "";
                    }

                    continue;
                }

                if (!tensors.TryAdd(entry.Name, ParseTensor(path, entry, data, dataLength)))
                {
                    throw new OpenElmException($"{path} lists the tensor {entry.Name} twice.");
                }
            }
        }
        catch (Exception e) when (e is JsonException or KeyNotFoundException or InvalidOperationException or FormatException)
        {
            throw new OpenElmException($"The header of {path} is damaged: {e.Message}", e);
        }

        return (tensors.ToImmutable(), metadata.ToImmutable());
    }

    static TensorView ParseTensor(string path, JsonProperty entry, nint data, long dataLength)
    {
        string type = entry.Value.GetProperty("dtype").GetString()!;
        if (!Enum.TryParse(type, out DType dtype) || dtype.ToString() != type || dtype.IsBlocked())
        {
            throw new OpenElmException($"{path}: the tensor {entry.Name} has the type {type}, which is not supported.");
        }

        ImmutableArray<long> shape = [.. entry.Value.GetProperty("shape").EnumerateArray().Select(size => size.GetInt64())];
        JsonElement offsets = entry.Value.GetProperty("data_offsets");
        if (offsets.GetArrayLength() != 2)
        {
            throw new FormatException($"the tensor {entry.Name} has {offsets.GetArrayLength()} data_offsets instead of two.");
        }

        (long begin, long end) = (offsets[0].GetInt64(), offsets[1].GetInt64());
        long expected;
        try
        {
            expected = dtype.ByteCount(shape);
        }
        catch (OverflowException)
        {
            expected = -1;
        }

        if (shape.Any(size => size < 0) || begin < 0 || end > dataLength || end - begin != expected)
        {
            throw new OpenElmException(
                $"{path} is truncated or damaged: the tensor {entry.Name} ({type} [{string.Join(", ", shape)}]) claims bytes {begin} to {end} of {dataLength}.");
        }

        return new TensorView(entry.Name, dtype, shape, data + (nint)begin, end - begin);
    }
}
