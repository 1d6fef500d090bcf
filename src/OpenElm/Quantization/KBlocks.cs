namespace OpenElm.Quantization;

/// <summary>
/// GGUF's Q4_K and Q5_K: w = d · scale · level − dmin · minimum, 256 elements in 8 groups of 32.
/// Layout: half d, half dmin, 12 bytes of <see cref="KScales"/>; for Q5_K 32 bytes of fifth bits (bit g of byte i: group g,
/// element i); 128 bytes of low bits: 32 bytes for each two groups, the even group in the lower halves.
/// </summary>
/// <param name="bits">4 or 5.</param>
internal sealed class KBlocks(int bits) : BlockFormat
{
    const int Groups = 8, Width = 32, FifthBits = 4 + KScales.Bytes;

    readonly int _highest = (1 << bits) - 1;
    readonly int _lowBits = bits == 5 ? FifthBits + Width : FifthBits;

    public override void Dequantize(ReadOnlySpan<byte> block, Span<float> values)
    {
        Span<byte> scales = stackalloc byte[Groups], minimums = stackalloc byte[Groups];
        KScales.Unpack(block.Slice(4, KScales.Bytes), scales, minimums);
        float d = ReadHalf(block, 0), dmin = ReadHalf(block, 2);
        ReadOnlySpan<byte> fifth = block.Slice(FifthBits, Width), low = block[_lowBits..];
        for (int g = 0; g < Groups; g++)
        {
            float scale = d * scales[g], minimum = dmin * minimums[g];
            for (int i = 0; i < Width; i++)
            {
                int level = (low[(g / 2 * Width) + i] >> (4 * (g % 2))) & 15;
                level |= bits == 5 ? ((fifth[i] >> g) & 1) << 4 : 0;
                values[(g * Width) + i] = (scale * level) - minimum;
            }
        }
    }

    public override void Quantize(ReadOnlySpan<float> values, ReadOnlySpan<float> weights, Span<byte> block)
    {
        Span<byte> scales = stackalloc byte[Groups], minimums = stackalloc byte[Groups], levels = stackalloc byte[Groups * Width];
        var fit = new KFit(values, weights, _highest, scales, minimums);
        fit.Search();
        fit.Levels(levels);
        WriteHalf(block, 0, (Half)fit.D);
        WriteHalf(block, 2, (Half)fit.DMin);
        KScales.Pack(scales, minimums, block.Slice(4, KScales.Bytes));
        Span<byte> fifth = block.Slice(FifthBits, bits == 5 ? Width : 0), low = block[_lowBits..];
        low.Clear();
        fifth.Clear();
        for (int i = 0; i < levels.Length; i++)
        {
            int g = i / Width, at = i % Width;
            low[(g / 2 * Width) + at] |= (byte)((levels[i] & 15) << (4 * (g % 2)));
            if (bits == 5)
            {
                fifth[at] |= (byte)(levels[i] >> 4 << g);
            }
        }
    }
}
