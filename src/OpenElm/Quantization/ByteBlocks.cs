using System.Runtime.InteropServices;

namespace OpenElm.Quantization;

/// <summary>
/// GGUF's Q8_0: w = d · q, 32 elements. Layout: half d, 32 signed bytes. −128 is not used: products of signed bytes are
/// computed by way of absolute values on some machines.
/// </summary>
internal sealed class ByteBlocks : BlockFormat
{
    const int Highest = 127, Levels = 2;

    // One spare level costs 1.6 % of the error's square, and every candidate is another chance: the best is a good deal smaller.
    static readonly ScaleGrid Grid = new(-Highest, Highest, Below: 7, Step: 1 / 8f, Passes: 4);

    public override void Dequantize(ReadOnlySpan<byte> block, Span<float> values)
    {
        float d = ReadHalf(block, 0);
        ReadOnlySpan<sbyte> levels = MemoryMarshal.Cast<byte, sbyte>(block[Levels..]);
        for (int i = 0; i < levels.Length; i++)
        {
            values[i] = levels[i] * d;
        }
    }

    public override void Quantize(ReadOnlySpan<float> values, ReadOnlySpan<float> weights, Span<byte> block)
    {
        Half d = ScaleSearch.NearestHalf(values, weights, ScaleSearch.Find(values, weights, Grid), -Highest, Highest);
        WriteHalf(block, 0, d);
        ScaleSearch.Quantize(values, (float)d, -Highest, Highest, MemoryMarshal.Cast<byte, sbyte>(block[Levels..]));
    }
}
