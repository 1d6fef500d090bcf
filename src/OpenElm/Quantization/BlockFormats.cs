using System.Runtime.Intrinsics;
using OpenElm.Checkpoints;

namespace OpenElm.Quantization;

/// <summary>
/// Block formats: numbers ↔ stored blocks. Reading gives exactly the numbers that llama.cpp reads (MLX's affine groups: in
/// float32); writing searches the block with the smallest error, weighted by importance where it is given.
/// </summary>
public static class BlockFormats
{
    /// <summary>The largest weight that a block format takes: what its half-precision scales can hold.</summary>
    public const float LargestWeight = 65504;

    // Numbers that are weighed against each other.
    const int Emphasised = 32;

    // Columns without importance keep a little, so that text unlike the calibration's does not find them ruined.
    const float SmallestImportance = 1e-3f;

    static readonly ScaledBlocks Q4_0 = new(bits: 4), Q5_0 = new(bits: 5);
    static readonly ScaledOffsetBlocks Q4_1 = new(bits: 4), Q5_1 = new(bits: 5);
    static readonly ByteBlocks Q8_0 = new();
    static readonly KBlocks Q4_K = new(bits: 4), Q5_K = new(bits: 5);
    static readonly SixBitBlocks Q6_K = new();
    static readonly AffineBlocks Affine4 = new(bits: 4), Affine8 = new(bits: 8);

    /// <summary>Reads blocks.</summary>
    /// <param name="dtype">A block format.</param>
    /// <param name="blocks">Whole blocks.</param>
    /// <param name="values">[elements of all blocks].</param>
    public static void Dequantize(DType dtype, ReadOnlySpan<byte> blocks, Span<float> values)
    {
        BlockFormat format = FormatOf(dtype);
        Check(dtype, blocks.Length, values.Length);
        if (VectorBlocks.TryDequantize(dtype, blocks, values))
        {
            return;
        }

        int bytes = dtype.BlockBytes(), elements = dtype.BlockElements();
        for (; blocks.Length > 0; blocks = blocks[bytes..], values = values[elements..])
        {
            format.Dequantize(blocks[..bytes], values[..elements]);
        }
    }

    /// <summary>Makes blocks.</summary>
    /// <param name="dtype">A block format.</param>
    /// <param name="values">[rows, columns], columns a multiple of the block.</param>
    /// <param name="blocks">The bytes of all blocks.</param>
    /// <param name="importance">[columns]: how much the square of an error in each column counts; empty counts all alike.</param>
    /// <exception cref="OpenElmException">A number is not finite or too large.</exception>
    public static void Quantize(DType dtype, ReadOnlySpan<float> values, Span<byte> blocks, ReadOnlySpan<float> importance = default)
    {
        BlockFormat format = FormatOf(dtype);
        Check(dtype, blocks.Length, values.Length);
        RequireRange(values, dtype);
        int bytes = dtype.BlockBytes(), elements = dtype.BlockElements();
        float[] weights = Weights(importance, elements);
        if (values.Length % weights.Length != 0)
        {
            throw new ArgumentException($"{values.Length} numbers are no rows of {weights.Length} columns.", nameof(importance));
        }

        Span<float> blockWeights = stackalloc float[elements];
        for (int at = 0, column = 0; at < values.Length; at += elements, column = (column + elements) % weights.Length, blocks = blocks[bytes..])
        {
            ReadOnlySpan<float> block = values.Slice(at, elements);
            Weigh(block, weights.AsSpan(column, elements), blockWeights);
            format.Quantize(block, blockWeights, blocks[..bytes]);
        }
    }

    /// <summary>The format that a type stores blocks of, one block at a time.</summary>
    /// <param name="dtype">A block format.</param>
    internal static BlockFormat FormatOf(DType dtype) => dtype switch
    {
        DType.Q4_0 => Q4_0,
        DType.Q4_1 => Q4_1,
        DType.Q5_0 => Q5_0,
        DType.Q5_1 => Q5_1,
        DType.Q8_0 => Q8_0,
        DType.Q4_K => Q4_K,
        DType.Q5_K => Q5_K,
        DType.Q6_K => Q6_K,
        DType.Affine4x32 or DType.Affine4x64 => Affine4,
        DType.Affine8x32 or DType.Affine8x64 => Affine8,
        _ => throw new ArgumentOutOfRangeException(nameof(dtype), dtype, "This type stores no blocks."),
    };

    static void Check(DType dtype, int bytes, int values)
    {
        int blocks = values / dtype.BlockElements();
        if (values % dtype.BlockElements() != 0 || bytes != blocks * dtype.BlockBytes())
        {
            throw new ArgumentException($"{values} numbers and {bytes} bytes are not the same blocks of {dtype}.");
        }
    }

    static void RequireRange(ReadOnlySpan<float> values, DType dtype)
    {
        foreach (float value in values)
        {
            if (!(MathF.Abs(value) <= LargestWeight)) // NaN too
            {
                throw new OpenElmException($"A weight is {value}; {dtype} takes finite ones up to {LargestWeight}.");
            }
        }
    }

    // Importance relative to its mean, so that products of small numbers do not vanish.
    static float[] Weights(ReadOnlySpan<float> importance, int blockElements)
    {
        float[] weights = new float[Math.Max(importance.Length, blockElements)];
        double sum = 0;
        foreach (float one in importance)
        {
            sum += one;
        }

        float mean = (float)(sum / Math.Max(1, importance.Length));
        if (!(mean > 0))
        {
            Array.Fill(weights, 1);
            return weights;
        }

        for (int i = 0; i < weights.Length; i++)
        {
            weights[i] = Math.Max(importance[i] / mean, SmallestImportance);
        }

        return weights;
    }

    // Errors of large numbers count a little more, from 0.8 for the smallest to 1.8 for one three times as large as the usual
    // of its 32: plain least squares make weights a little too small on average, which costs more perplexity than it gains.
    static void Weigh(ReadOnlySpan<float> values, ReadOnlySpan<float> columns, Span<float> weights)
    {
        for (int at = 0; at < values.Length; at += Emphasised)
        {
            Vector512<float> low = Vector512.Create(values[at..]), high = Vector512.Create(values[(at + Vector512<float>.Count)..]);
            Vector512<float> magnitudes = Vector512.MaxNative(Vector512.Abs(low), Vector512.Abs(high));
            float largest = 0;
            for (int lane = 0; lane < Vector512<float>.Count; lane++)
            {
                largest = MathF.Max(largest, magnitudes[lane]);
            }

            if (largest < ScaleSearch.Tiny)
            {
                columns.Slice(at, Emphasised).CopyTo(weights[at..]);
                continue;
            }

            Vector512<float> unit = Vector512.Create(1 / largest);
            (low, high) = (low * unit * low * unit, high * unit * high * unit);
            float mean = Vector512.Sum(low + high) / Emphasised;
            var twiceMean = Vector512.Create(2 * mean);
            var scale = Vector512.Create(1 / (3 * mean));
            (Vector512.Create(columns[at..]) * Vector512.Sqrt((twiceMean + low) * scale)).CopyTo(weights[at..]);
            (Vector512.Create(columns[(at + Vector512<float>.Count)..]) * Vector512.Sqrt((twiceMean + high) * scale)).CopyTo(weights[(at + Vector512<float>.Count)..]);
        }
    }
}
