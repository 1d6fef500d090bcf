using System.Collections.Immutable;
using System.Runtime.InteropServices;
using OpenElm.Quantization;

namespace OpenElm.Checkpoints;

/// <summary>One stored tensor: a window on a memory-mapped file, valid while the file is open.</summary>
/// <param name="Name">The name in the file.</param>
/// <param name="DType">The type of the elements.</param>
/// <param name="Shape">The sizes, outermost first.</param>
/// <param name="Address">The first byte.</param>
/// <param name="ByteCount">Bytes in all.</param>
public readonly record struct TensorView(string Name, DType DType, ImmutableArray<long> Shape, nint Address, long ByteCount)
{
    /// <summary>The number of elements.</summary>
    public long Elements => ByteCount / DType.BlockBytes() * DType.BlockElements();

    /// <summary>The bytes; the tensor must be smaller than 2 GiB.</summary>
    public unsafe ReadOnlySpan<byte> Bytes => new((void*)Address, checked((int)ByteCount));

    /// <summary>The elements of an <see cref="DType.F32"/> tensor, without a copy.</summary>
    /// <exception cref="InvalidOperationException">The type is another.</exception>
    public unsafe ReadOnlySpan<float> Floats => DType == DType.F32
        ? new((void*)Address, checked((int)Elements))
        : throw new InvalidOperationException($"{Name} holds {DType}, not F32.");

    /// <summary>The elements of an <see cref="DType.I64"/> tensor, without a copy.</summary>
    /// <exception cref="InvalidOperationException">The type is another.</exception>
    public unsafe ReadOnlySpan<long> Longs => DType == DType.I64
        ? new((void*)Address, checked((int)Elements))
        : throw new InvalidOperationException($"{Name} holds {DType}, not I64.");

    /// <summary>The elements of an <see cref="DType.F64"/> tensor, without a copy.</summary>
    /// <exception cref="InvalidOperationException">The type is another.</exception>
    public unsafe ReadOnlySpan<double> Doubles => DType == DType.F64
        ? new((void*)Address, checked((int)Elements))
        : throw new InvalidOperationException($"{Name} holds {DType}, not F64.");

    /// <summary>Some rows, without a copy.</summary>
    /// <param name="first">The first row.</param>
    /// <param name="count">How many.</param>
    /// <returns>[count, columns].</returns>
    public TensorView Rows(long first, long count)
    {
        if (Shape is not [long rows, long columns] || first < 0 || count < 0 || first > rows - count)
        {
            throw new ArgumentOutOfRangeException(nameof(first), $"{Name} [{string.Join(", ", Shape)}] has no rows {first} to {first + count}.");
        }

        long rowBytes = columns / DType.BlockElements() * DType.BlockBytes();
        return this with { Shape = [count, columns], Address = Address + (nint)(first * rowBytes), ByteCount = count * rowBytes };
    }

    /// <summary>Converts the elements to floats.</summary>
    /// <param name="destination">[Elements].</param>
    /// <exception cref="OpenElmException">The tensor holds no floating-point numbers.</exception>
    public void CopyTo(Span<float> destination)
    {
        if (destination.Length != Elements)
        {
            throw new ArgumentException($"{Name} has {Elements} elements; the destination has {destination.Length}.", nameof(destination));
        }

        switch (DType)
        {
            case DType.F32:
                Floats.CopyTo(destination);
                break;
            case DType.F64:
                ReadOnlySpan<double> doubles = Doubles;
                for (int i = 0; i < destination.Length; i++)
                {
                    destination[i] = (float)doubles[i];
                }

                break;
            case DType.BF16:
                ReadOnlySpan<ushort> upperHalves = MemoryMarshal.Cast<byte, ushort>(Bytes);
                for (int i = 0; i < destination.Length; i++)
                {
                    destination[i] = BitConverter.UInt32BitsToSingle((uint)upperHalves[i] << 16);
                }

                break;
            case DType.F16:
                ReadOnlySpan<Half> halves = MemoryMarshal.Cast<byte, Half>(Bytes);
                for (int i = 0; i < destination.Length; i++)
                {
                    destination[i] = (float)halves[i];
                }

                break;
            case var blocks when blocks.IsBlocked():
                BlockFormats.Dequantize(blocks, Bytes, destination);
                break;
            default:
                throw new OpenElmException($"The tensor {Name} holds {DType}; weights must be F32, F64, BF16, F16 or a block format.");
        }
    }

    /// <summary>The bytes as a stream, for tensors of any size.</summary>
    /// <returns>A stream on the mapped bytes.</returns>
    public unsafe UnmanagedMemoryStream OpenRead() => new((byte*)Address, ByteCount);

    /// <summary>Converts the elements to a new array of floats.</summary>
    /// <returns>[Elements].</returns>
    public float[] ToFloats()
    {
        float[] floats = new float[checked((int)Elements)];
        CopyTo(floats);
        return floats;
    }
}
