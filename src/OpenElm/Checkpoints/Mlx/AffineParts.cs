using System.Buffers.Binary;
using System.Collections.Immutable;
using System.Runtime.InteropServices;

namespace OpenElm.Checkpoints.Mlx;

/// <summary>Splits a matrix of affine groups into MLX's three tensors; its blocks are made once, for the first of the three, and let go with the last.</summary>
/// <param name="weight">The matrix.</param>
/// <param name="scaleType">The type of scales and biases: F16, BF16 or F32.</param>
internal sealed class AffineParts(TensorSource weight, DType scaleType)
{
    byte[]? _blocks;

    /// <summary>The three, in the order in which they must be written.</summary>
    public IEnumerable<TensorSource> Split()
    {
        string stem = weight.Name[..^".weight".Length];
        long rows = weight.Shape[0], groups = weight.Shape[1] / weight.DType.BlockElements();
        ImmutableArray<long> words = [rows, weight.Shape[1] * AffineGroups.Bits(weight.DType) / 32];
        yield return new TensorSource(weight.Name, DType.U32, words, WriteLevels);
        yield return new TensorSource(stem + ".scales", scaleType, [rows, groups], stream => WriteHeads(stream, 0));
        yield return new TensorSource(stem + ".biases", scaleType, [rows, groups], stream =>
        {
            WriteHeads(stream, sizeof(float));
            _blocks = null;
        });
    }

    byte[] Blocks()
    {
        if (_blocks is null)
        {
            using var stream = new MemoryStream(checked((int)weight.ByteCount));
            weight.Write(stream);
            _blocks = stream.GetBuffer();
        }

        return _blocks;
    }

    void WriteLevels(Stream stream)
    {
        int block = weight.DType.BlockBytes();
        for (ReadOnlySpan<byte> rest = Blocks().AsSpan(0, (int)weight.ByteCount); !rest.IsEmpty; rest = rest[block..])
        {
            stream.Write(rest[AffineGroups.HeadBytes..block]);
        }
    }

    void WriteHeads(Stream stream, int offset)
    {
        int block = weight.DType.BlockBytes();
        float[] heads = new float[weight.ByteCount / block];
        for (int i = 0; i < heads.Length; i++)
        {
            heads[i] = BinaryPrimitives.ReadSingleLittleEndian(Blocks().AsSpan((i * block) + offset));
        }

        byte[] bytes = FloatEncoding.Encode(heads, scaleType);
        RequireExact(heads, bytes);
        stream.Write(bytes);
    }

    // A rounded scale would move every level of its group.
    unsafe void RequireExact(float[] heads, byte[] bytes)
    {
        float[] stored = new float[heads.Length];
        fixed (byte* address = bytes)
        {
            new TensorView(weight.Name, scaleType, [heads.Length], (nint)address, bytes.Length).CopyTo(stored);
        }

        if (!MemoryMarshal.AsBytes<float>(heads).SequenceEqual(MemoryMarshal.AsBytes<float>(stored)))
        {
            throw new OpenElmException($"{weight.Name} has scales that {scaleType} cannot hold exactly; quantise it for this type, or store them as F32.");
        }
    }
}
