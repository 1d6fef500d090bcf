using System.Buffers.Binary;
using System.Collections.Immutable;
using System.Runtime.InteropServices;
using System.Text.Json;
using OpenElm.IO;

namespace OpenElm.Checkpoints;

/// <summary>One tensor to be written: its description, and an action that writes exactly its bytes (little-endian).</summary>
/// <param name="Name">The name in the file.</param>
/// <param name="DType">The type of the elements.</param>
/// <param name="Shape">The sizes, outermost first.</param>
/// <param name="Write">Writes the bytes.</param>
public sealed record TensorSource(string Name, DType DType, ImmutableArray<long> Shape, Action<Stream> Write)
{
    /// <summary>Bytes of the tensor.</summary>
    public long ByteCount => DType.ByteCount(Shape);

    /// <summary>A tensor of floats in memory.</summary>
    /// <param name="name">The name in the file.</param>
    /// <param name="shape">The sizes.</param>
    /// <param name="values">The elements.</param>
    /// <returns>The source.</returns>
    public static TensorSource Of(string name, ImmutableArray<long> shape, ReadOnlyMemory<float> values) =>
        new(name, DType.F32, shape, stream => stream.Write(MemoryMarshal.AsBytes(values.Span)));

    /// <summary>Takes the elements as floats; for tensors that are small, since their bytes pass through memory.</summary>
    /// <returns>[elements].</returns>
    public unsafe float[] ToFloats()
    {
        using var stream = new MemoryStream();
        Write(stream);
        fixed (byte* bytes = stream.GetBuffer())
        {
            return new TensorView(Name, DType, Shape, (nint)bytes, stream.Length).ToFloats();
        }
    }

    /// <summary>A copy of a stored tensor.</summary>
    /// <param name="name">The name in the new file.</param>
    /// <param name="tensor">The stored tensor, whose file must stay open until the new one is written.</param>
    /// <returns>The source.</returns>
    public static TensorSource Of(string name, TensorView tensor) => new(name, tensor.DType, tensor.Shape, stream =>
    {
        using UnmanagedMemoryStream bytes = tensor.OpenRead();
        bytes.CopyTo(stream, 1 << 20);
    });
}

/// <summary>Writes safetensors files, atomically.</summary>
public static class SafetensorsWriter
{
    /// <summary>Writes one file.</summary>
    /// <param name="path">The file.</param>
    /// <param name="tensors">The tensors, stored in this order.</param>
    /// <param name="metadata">The file's <c>__metadata__</c>; Hugging Face's loader wants <c>format: pt</c>.</param>
    public static void Write(string path, IReadOnlyList<TensorSource> tensors, IReadOnlyDictionary<string, string>? metadata = null) =>
        AtomicFile.Write(path, stream =>
        {
            byte[] header = Header(tensors, metadata ?? ImmutableDictionary<string, string>.Empty);
            Span<byte> length = stackalloc byte[8];
            BinaryPrimitives.WriteInt64LittleEndian(length, header.Length);
            stream.Write(length);
            stream.Write(header);
            foreach (TensorSource tensor in tensors)
            {
                long begin = stream.Position;
                tensor.Write(stream);
                if (stream.Position - begin != tensor.ByteCount)
                {
                    throw new InvalidOperationException($"{tensor.Name} wrote {stream.Position - begin} bytes; its shape says {tensor.ByteCount}.");
                }
            }
        });

    static byte[] Header(IReadOnlyList<TensorSource> tensors, IReadOnlyDictionary<string, string> metadata)
    {
        using var buffer = new MemoryStream();
        using (var writer = new Utf8JsonWriter(buffer))
        {
            writer.WriteStartObject();
            if (metadata.Count > 0)
            {
                writer.WriteStartObject("__metadata__");
                foreach ((string key, string value) in metadata)
                {
                    writer.WriteString(key, value);
                }

                writer.WriteEndObject();
            }

            long offset = 0;
            foreach (TensorSource tensor in tensors)
            {
                writer.WriteStartObject(tensor.Name);
                writer.WriteString("dtype", tensor.DType.ToString());
                writer.WriteStartArray("shape");
                foreach (long size in tensor.Shape)
                {
                    writer.WriteNumberValue(size);
                }

                writer.WriteEndArray();
                writer.WriteStartArray("data_offsets");
                writer.WriteNumberValue(offset);
                writer.WriteNumberValue(offset += tensor.ByteCount);
                writer.WriteEndArray();
                writer.WriteEndObject();
            }

            writer.WriteEndObject();
        }

        // Blanks after the JSON keep the data aligned for vector loads from the mapped file.
        while ((buffer.Length + 8) % 64 != 0)
        {
            buffer.WriteByte((byte)' ');
        }

        return buffer.ToArray();
    }
}
