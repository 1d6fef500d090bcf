using System.Buffers.Binary;

namespace OpenElm.Quantization;

/// <summary>
/// MLX's affine groups: w = scale · level + bias, 32 or 64 elements.
/// Layout (ours; MLX keeps three tensors): float scale, float bias, then the levels, for 4 bits the even element in the lower
/// half of its byte. MLX stores scale and bias in the model's 16-bit type, so they are chosen among the numbers that bfloat16
/// and half precision have in common: such a folder loses nothing in either.
/// </summary>
/// <param name="bits">4 or 8.</param>
internal sealed class AffineBlocks(int bits) : BlockFormat
{
    const int Levels = 8, LongestGroup = 64;

    readonly OffsetGrid _grid = bits == 8 ? new(255, Inside: 0, Outside: 5, ScalePrecision.EitherHalf) : new(15, Inside: 1.2f, Outside: 0.6f, ScalePrecision.EitherHalf);

    public override void Dequantize(ReadOnlySpan<byte> block, Span<float> values)
    {
        float scale = BinaryPrimitives.ReadSingleLittleEndian(block), bias = BinaryPrimitives.ReadSingleLittleEndian(block[4..]);
        for (int i = 0; i < values.Length; i++)
        {
            int level = bits == 8 ? block[Levels + i] : (block[Levels + (i / 2)] >> (4 * (i % 2))) & 15;
            values[i] = (scale * level) + bias;
        }
    }

    public override void Quantize(ReadOnlySpan<float> values, ReadOnlySpan<float> weights, Span<byte> block)
    {
        (float scale, float offset) = ScaleOffsetSearch.Find(values, weights, _grid);
        (scale, offset) = ScaleOffsetSearch.Refine(values, weights, scale, offset, _grid);
        BinaryPrimitives.WriteSingleLittleEndian(block, scale);
        BinaryPrimitives.WriteSingleLittleEndian(block[4..], offset);
        Span<byte> levels = stackalloc byte[LongestGroup];
        levels = levels[..values.Length];
        ScaleOffsetSearch.Quantize(values, scale, offset, _grid.Highest, levels);
        Span<byte> packed = block[Levels..];
        for (int i = 0; i < packed.Length; i++)
        {
            packed[i] = bits == 8 ? levels[i] : (byte)(levels[2 * i] | (levels[(2 * i) + 1] << 4));
        }
    }
}
