using System.Buffers.Binary;

namespace OpenElm.Quantization;

/// <summary>
/// MLX's affine groups: w = scale · level + bias, 32 or 64 elements.
/// Layout (ours; MLX keeps three tensors): float scale, float bias, then the levels, for 4 bits the even element in the lower
/// half of its byte. MLX stores scale and bias in the model's 16-bit type, so they are chosen among half-precision numbers.
/// </summary>
/// <param name="bits">4 or 8.</param>
internal sealed class AffineBlocks(int bits) : BlockFormat
{
    const int Levels = 8, LongestGroup = 64;

    readonly int _highest = (1 << bits) - 1;

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
        (float scale, float offset) = ScaleOffsetSearch.Find(values, weights, _highest, inside: 1.2f, outside: bits == 8 ? 3 : 0.6f, atMostZero: false);
        (Half d, Half m) = ScaleOffsetSearch.NearestHalves(values, weights, scale, offset, _highest);
        BinaryPrimitives.WriteSingleLittleEndian(block, (float)d);
        BinaryPrimitives.WriteSingleLittleEndian(block[4..], (float)m);
        Span<byte> levels = stackalloc byte[LongestGroup];
        levels = levels[..values.Length];
        ScaleOffsetSearch.Quantize(values, (float)d, (float)m, _highest, levels);
        Span<byte> packed = block[Levels..];
        for (int i = 0; i < packed.Length; i++)
        {
            packed[i] = bits == 8 ? levels[i] : (byte)(levels[2 * i] | (levels[(2 * i) + 1] << 4));
        }
    }
}
