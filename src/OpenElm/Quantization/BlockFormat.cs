using System.Buffers.Binary;

namespace OpenElm.Quantization;

/// <summary>One block format: how a block is laid out, read and made.</summary>
internal abstract class BlockFormat
{
    /// <summary>Reads a block: exactly the numbers that llama.cpp (or MLX, in float32) reads.</summary>
    /// <param name="block">The bytes of one block.</param>
    /// <param name="values">Its elements.</param>
    public abstract void Dequantize(ReadOnlySpan<byte> block, Span<float> values);

    /// <summary>Makes a block.</summary>
    /// <param name="values">The elements, finite and within half precision.</param>
    /// <param name="weights">How much the square of each one's error counts.</param>
    /// <param name="block">The bytes of one block.</param>
    public abstract void Quantize(ReadOnlySpan<float> values, ReadOnlySpan<float> weights, Span<byte> block);

    /// <summary>Reads a half-precision number.</summary>
    /// <param name="block">The block.</param>
    /// <param name="at">Where it begins.</param>
    /// <returns>The number.</returns>
    protected static float ReadHalf(ReadOnlySpan<byte> block, int at) => (float)BinaryPrimitives.ReadHalfLittleEndian(block[at..]);

    /// <summary>Writes a half-precision number.</summary>
    /// <param name="block">The block.</param>
    /// <param name="at">Where it begins.</param>
    /// <param name="value">The number.</param>
    protected static void WriteHalf(Span<byte> block, int at, Half value) => BinaryPrimitives.WriteHalfLittleEndian(block[at..], value);
}
