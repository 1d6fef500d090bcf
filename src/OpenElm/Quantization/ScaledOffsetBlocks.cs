namespace OpenElm.Quantization;

/// <summary>
/// GGUF's Q4_1 and Q5_1: w = d · level + m, 32 elements.
/// Layout: half d, half m; for Q5_1 the fifth bits (4 bytes); 16 bytes of <see cref="Nibbles"/>.
/// </summary>
/// <param name="bits">4 or 5.</param>
internal sealed class ScaledOffsetBlocks(int bits) : BlockFormat
{
    const int FifthBits = 4;

    readonly OffsetGrid _grid = new((1 << bits) - 1, Inside: 1.2f, Outside: 0.6f, ScalePrecision.Half);
    readonly int _nibbles = bits == 5 ? FifthBits + 4 : FifthBits;

    public override void Dequantize(ReadOnlySpan<byte> block, Span<float> values)
    {
        Span<byte> levels = stackalloc byte[32];
        Nibbles.Unpack(block[_nibbles..], levels);
        if (bits == 5)
        {
            Nibbles.AddFifthBits(block[FifthBits..], levels);
        }

        float d = ReadHalf(block, 0), m = ReadHalf(block, 2);
        for (int i = 0; i < levels.Length; i++)
        {
            values[i] = (levels[i] * d) + m;
        }
    }

    public override void Quantize(ReadOnlySpan<float> values, ReadOnlySpan<float> weights, Span<byte> block)
    {
        (float scale, float offset) = ScaleOffsetSearch.Find(values, weights, _grid);
        (scale, offset) = ScaleOffsetSearch.Refine(values, weights, scale, offset, _grid);
        Span<byte> levels = stackalloc byte[32];
        ScaleOffsetSearch.Quantize(values, scale, offset, _grid.Highest, levels);
        WriteHalf(block, 0, (Half)scale);
        WriteHalf(block, 2, (Half)offset);
        Nibbles.Pack(levels, block[_nibbles..]);
        if (bits == 5)
        {
            Nibbles.PackFifthBits(levels, block[FifthBits..]);
        }
    }
}
