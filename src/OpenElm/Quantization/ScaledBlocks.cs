using System.Runtime.InteropServices;

namespace OpenElm.Quantization;

/// <summary>
/// GGUF's Q4_0 and Q5_0: w = d · (level − zero), 32 elements.
/// Layout: half d; for Q5_0 the fifth bits (4 bytes); 16 bytes of <see cref="Nibbles"/>. The zero is level 8 or 16, so d may be
/// negative to give the side with one level more to the larger extreme.
/// </summary>
/// <param name="bits">4 or 5.</param>
internal sealed class ScaledBlocks(int bits) : BlockFormat
{
    const int FifthBits = 2;

    readonly int _zero = 1 << (bits - 1);
    readonly int _nibbles = bits == 5 ? FifthBits + 4 : FifthBits;
    readonly ScaleGrid _grid = bits == 4 ? new(-8, 7, Below: 2, Step: 1 / 16f, Passes: 4) : new(-16, 15, Below: 2.5f, Step: 1 / 16f, Passes: 4);

    public override void Dequantize(ReadOnlySpan<byte> block, Span<float> values)
    {
        Span<byte> levels = stackalloc byte[32];
        Nibbles.Unpack(block[_nibbles..], levels);
        if (bits == 5)
        {
            Nibbles.AddFifthBits(block[FifthBits..], levels);
        }

        float d = ReadHalf(block, 0);
        for (int i = 0; i < levels.Length; i++)
        {
            values[i] = (levels[i] - _zero) * d;
        }
    }

    public override void Quantize(ReadOnlySpan<float> values, ReadOnlySpan<float> weights, Span<byte> block)
    {
        Half d = ScaleSearch.NearestHalf(values, weights, ScaleSearch.Find(values, weights, _grid), _grid.Lowest, _grid.Highest);
        Span<byte> levels = stackalloc byte[32];
        ScaleSearch.Quantize(values, (float)d, _grid.Lowest, _grid.Highest, MemoryMarshal.Cast<byte, sbyte>(levels));
        foreach (ref byte level in levels)
        {
            level = (byte)((sbyte)level + _zero);
        }

        WriteHalf(block, 0, d);
        Nibbles.Pack(levels, block[_nibbles..]);
        if (bits == 5)
        {
            Nibbles.PackFifthBits(levels, block[FifthBits..]);
        }
    }
}
