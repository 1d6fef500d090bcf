using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace OpenElm.Quantization;

/// <summary>
/// GGUF's Q6_K: w = d · scale · (level − 32), 256 elements in 16 groups of 16, scales of 8 bits, signed.
/// Layout: 128 bytes of low four bits, 64 bytes of high two bits, 16 scales, half d. The block is two halves of 128 elements,
/// each of four quarters of 32; in a half, byte i of the first 32 low bytes holds element i of quarters 0 and 2, byte i of the
/// second 32 that of quarters 1 and 3; byte i of the 32 high bytes holds element i of all four, lowest first.
/// </summary>
internal sealed class SixBitBlocks : BlockFormat
{
    const int Elements = 256, Groups = 16, Width = 16, HighBits = 128, Scales = HighBits + 64, Scale = Scales + Groups, Refits = 2;
    const int Lowest = -32, Highest = 31, LowestScale = -128, HighestScale = 127;

    static readonly ScaleGrid Grid = new(Lowest, Highest, Below: 3, Step: 1 / 8f, Passes: 2);
    static readonly ScaleGrid ScalesGrid = new(LowestScale, HighestScale, Below: 31, Step: 1 / 2f, Passes: 4);

    public override void Dequantize(ReadOnlySpan<byte> block, Span<float> values)
    {
        float d = ReadHalf(block, Scale);
        ReadOnlySpan<sbyte> scales = MemoryMarshal.Cast<byte, sbyte>(block.Slice(Scales, Groups));
        for (int i = 0; i < Elements; i++)
        {
            (int low, int high, int quarter) = Place(i);
            int level = ((block[low] >> (4 * (quarter / 2))) & 15) | (((block[high] >> (2 * quarter)) & 3) << 4);
            values[i] = d * scales[i / Width] * (level + Lowest);
        }
    }

    public override void Quantize(ReadOnlySpan<float> values, ReadOnlySpan<float> weights, Span<byte> block)
    {
        Span<sbyte> scales = MemoryMarshal.Cast<byte, sbyte>(block.Slice(Scales, Groups)), levels = stackalloc sbyte[Elements];
        float d = Fit(values, weights, scales);
        Levels(values, d, scales, levels);
        block[..Scales].Clear();
        for (int i = 0; i < Elements; i++)
        {
            (int low, int high, int quarter) = Place(i);
            int level = levels[i] - Lowest;
            block[low] |= (byte)((level & 15) << (4 * (quarter / 2)));
            block[high] |= (byte)(level >> 4 << (2 * quarter));
        }

        WriteHalf(block, Scale, (Half)d);
    }

    // Bytes of an element's low and high bits, and its quarter.
    static (int Low, int High, int Quarter) Place(int i)
    {
        int half = i / 128, quarter = i % 128 / 32, at = i % 32;
        return ((half * 64) + (quarter % 2 * 32) + at, HighBits + (half * 32) + at, quarter);
    }

    // As KFit, without minimums: each group's own scale, d as the scale of the scales, the best stored scale of each group by
    // true error, d again by least squares.
    static float Fit(ReadOnlySpan<float> x, ReadOnlySpan<float> w, Span<sbyte> scales)
    {
        Span<float> own = stackalloc float[Groups], stiffness = stackalloc float[Groups];
        for (int g = 0; g < Groups; g++)
        {
            ReadOnlySpan<float> group = x.Slice(g * Width, Width), weights = w.Slice(g * Width, Width);
            own[g] = ScaleSearch.Find(group, weights, Grid);
            for (int i = 0; i < Width && own[g] != 0; i++)
            {
                float level = group[i] / own[g];
                stiffness[g] += weights[i] * level * level;
            }
        }

        float d = (float)(Half)ScaleSearch.Find(own, stiffness, ScalesGrid);
        for (int g = 0; g < Groups; g++)
        {
            scales[g] = d == 0 ? (sbyte)0 : (sbyte)Math.Clamp(MathF.Round(own[g] / d), LowestScale, HighestScale);
        }

        float error = Choose(x, w, d, scales);
        Span<sbyte> newScales = stackalloc sbyte[Groups];
        for (int i = 0; i < Refits; i++)
        {
            float newD = Refit(x, w, d, scales);
            scales.CopyTo(newScales);
            float newError = Choose(x, w, newD, newScales);
            if (!(newError < error))
            {
                break;
            }

            (d, error) = (newD, newError);
            newScales.CopyTo(scales);
        }

        return d;
    }

    static float Choose(ReadOnlySpan<float> x, ReadOnlySpan<float> w, float d, Span<sbyte> scales)
    {
        Span<float> candidates = stackalloc float[ScaleSearch.Lanes];
        float total = 0;
        for (int g = 0; g < Groups; g++)
        {
            for (int lane = 0; lane < candidates.Length; lane++)
            {
                candidates[lane] = Math.Clamp(scales[g] + lane - (candidates.Length / 2), LowestScale, HighestScale);
            }

            Vector512<float> errors = ScaleSearch.Errors(x.Slice(g * Width, Width), w.Slice(g * Width, Width), Vector512.Create<float>(candidates) * Vector512.Create(d), Lowest, Highest);
            int best = ScaleSearch.SmallestOf(errors);
            scales[g] = (sbyte)candidates[best];
            total += errors[best];
        }

        return total;
    }

    // d that minimises Σ w · (x − d · a)², a = scale · level, as a half-precision number.
    static float Refit(ReadOnlySpan<float> x, ReadOnlySpan<float> w, float d, ReadOnlySpan<sbyte> scales)
    {
        Span<sbyte> levels = stackalloc sbyte[Elements];
        Levels(x, d, scales, levels);
        double aa = 0, xa = 0;
        for (int i = 0; i < Elements; i++)
        {
            double a = scales[i / Width] * levels[i];
            aa += w[i] * a * a;
            xa += w[i] * x[i] * a;
        }

        return aa > 0 ? (float)(Half)(xa / aa) : d;
    }

    static void Levels(ReadOnlySpan<float> x, float d, ReadOnlySpan<sbyte> scales, Span<sbyte> levels)
    {
        for (int g = 0; g < Groups; g++)
        {
            ScaleSearch.Quantize(x.Slice(g * Width, Width), d * scales[g], Lowest, Highest, levels.Slice(g * Width, Width));
        }
    }
}
