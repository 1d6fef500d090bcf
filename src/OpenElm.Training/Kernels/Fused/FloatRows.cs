using System.Numerics;
using System.Runtime.InteropServices;
using OpenElm.Training.Torch;
using TorchSharp;
using static TorchSharp.torch;

namespace OpenElm.Training.Kernels.Fused;

/// <summary>
/// The rows of a contiguous CPU tensor as floats. Single precision is read and written in place; bfloat16 goes through a
/// buffer of the caller's.
/// </summary>
internal readonly unsafe struct FloatRows
{
    readonly byte* _data;
    readonly bool _isBFloat16;

    /// <summary>Opens a tensor, which must live as long as its rows are used.</summary>
    /// <param name="tensor">[…, width], contiguous, single precision or bfloat16.</param>
    /// <param name="width">Elements of a row.</param>
    public FloatRows(Tensor tensor, long width)
    {
        _isBFloat16 = tensor.dtype == ScalarType.BFloat16;
        if ((!_isBFloat16 && tensor.dtype != ScalarType.Float32) || !tensor.is_contiguous() || tensor.device_type != DeviceType.CPU)
        {
            throw new ArgumentException($"The fused kernels take contiguous tensors of floats on the CPU, not {tensor.dtype} [{string.Join(", ", tensor.shape)}].", nameof(tensor));
        }

        _data = (byte*)Dispatcher.DataPointer(tensor);
        Width = checked((int)width);
    }

    /// <summary>Elements of a row.</summary>
    public int Width { get; }

    /// <summary>Whether values are rounded when they are written.</summary>
    public bool Rounds => _isBFloat16;

    /// <summary>Reads a row.</summary>
    /// <param name="row">Its number.</param>
    /// <param name="buffer">[Width], used where the row must be converted.</param>
    /// <returns>[Width]: the row itself or the buffer; if it is changed, <see cref="Write"/> must follow.</returns>
    public Span<float> Read(long row, Span<float> buffer)
    {
        if (!_isBFloat16)
        {
            return new Span<float>((float*)_data + (row * Width), Width);
        }

        BFloat16Rounding.Widen(new ReadOnlySpan<ushort>((ushort*)_data + (row * Width), Width), buffer);
        return buffer[..Width];
    }

    /// <summary>Where to compute a row that <see cref="Write"/> then stores.</summary>
    /// <param name="row">Its number.</param>
    /// <param name="buffer">[Width].</param>
    /// <returns>[Width]: the row itself or the buffer.</returns>
    public Span<float> Target(long row, Span<float> buffer) => _isBFloat16 ? buffer[..Width] : new Span<float>((float*)_data + (row * Width), Width);

    /// <summary>Stores what stands in <see cref="Target"/> or was changed in <see cref="Read"/>.</summary>
    /// <param name="row">Its number.</param>
    /// <param name="target">What either gave.</param>
    public void Write(long row, ReadOnlySpan<float> target)
    {
        if (_isBFloat16)
        {
            BFloat16Rounding.Narrow(target, new Span<ushort>((ushort*)_data + (row * Width), Width));
        }
    }
}

/// <summary>Conversions between floats and bfloat16, rounding to nearest, ties to even.</summary>
internal static class BFloat16Rounding
{
    /// <summary>Converts to floats, exactly.</summary>
    /// <param name="source">Upper halves of floats.</param>
    /// <param name="destination">As long as the source or longer.</param>
    public static void Widen(ReadOnlySpan<ushort> source, Span<float> destination)
    {
        Span<uint> bits = MemoryMarshal.Cast<float, uint>(destination);
        int i = 0;
        for (; i <= source.Length - Vector<ushort>.Count; i += Vector<ushort>.Count)
        {
            Vector.Widen(new Vector<ushort>(source[i..]), out Vector<uint> low, out Vector<uint> high);
            (low << 16).CopyTo(bits[i..]);
            (high << 16).CopyTo(bits[(i + Vector<uint>.Count)..]);
        }

        for (; i < source.Length; i++)
        {
            bits[i] = (uint)source[i] << 16;
        }
    }

    /// <summary>Rounds to bfloat16.</summary>
    /// <param name="source">Floats.</param>
    /// <param name="destination">As long as the source or longer.</param>
    public static void Narrow(ReadOnlySpan<float> source, Span<ushort> destination)
    {
        int i = 0, lanes = Vector<float>.Count;
        for (; i <= source.Length - (2 * lanes); i += 2 * lanes)
        {
            Vector.Narrow(RoundedBits(new Vector<float>(source[i..])) >> 16, RoundedBits(new Vector<float>(source[(i + lanes)..])) >> 16).CopyTo(destination[i..]);
        }

        for (; i < source.Length; i++)
        {
            destination[i] = (ushort)(BitConverter.SingleToUInt32Bits(Round(source[i])) >> 16);
        }
    }

    /// <summary>Rounds floats to the nearest bfloat16, in place.</summary>
    /// <param name="values">The floats.</param>
    public static void Round(Span<float> values)
    {
        int i = 0;
        for (; i <= values.Length - Vector<float>.Count; i += Vector<float>.Count)
        {
            Vector.AsVectorSingle(RoundedBits(new Vector<float>(values[i..])) & new Vector<uint>(0xffff0000)).CopyTo(values[i..]);
        }

        for (; i < values.Length; i++)
        {
            values[i] = Round(values[i]);
        }
    }

    static float Round(float value)
    {
        uint bits = BitConverter.SingleToUInt32Bits(value);
        return BitConverter.UInt32BitsToSingle(float.IsNaN(value) ? 0x7fc00000 : (bits + 0x7fff + ((bits >> 16) & 1)) & 0xffff0000);
    }

    // NaN must not be carried into infinity or zero by the addition.
    static Vector<uint> RoundedBits(Vector<float> values)
    {
        Vector<uint> bits = Vector.AsVectorUInt32(values);
        Vector<uint> rounded = bits + new Vector<uint>(0x7fff) + ((bits >> 16) & Vector<uint>.One);
        return Vector.ConditionalSelect(Vector.AsVectorUInt32(Vector.Equals(values, values)), rounded, new Vector<uint>(0x7fc00000));
    }
}
