using System.Runtime.Intrinsics;

namespace OpenElm.Quantization;

/// <summary>
/// Fits one block of Q4_K or Q5_K. First every group's own best scale and minimum, unrounded; from these d and dmin, as the
/// scales of the scales; then, for the stored d and dmin, the best pair of 6-bit numbers for each group by true error among
/// the pairs around its own; last, d and dmin by least squares for these choices and a second, narrower choice, as long as that helps.
/// </summary>
/// <param name="x">[256] numbers.</param>
/// <param name="w">[256] weights.</param>
/// <param name="highest">The highest level.</param>
/// <param name="scales">[8] filled with the 6-bit scales.</param>
/// <param name="minimums">[8] filled with the 6-bit minimums.</param>
internal ref struct KFit(ReadOnlySpan<float> x, ReadOnlySpan<float> w, int highest, Span<byte> scales, Span<byte> minimums)
{
    const int Groups = 8, Width = 32, HighestScale = 63, Refits = 2;

    static readonly ScaleGrid Scales = new(0, HighestScale, Below: 15, Step: 1 / 2f, Passes: 2);

    readonly OffsetGrid _grid = new(highest, Inside: 1.2f, Outside: 0.6f, ScalePrecision.Half, AtMostZero: true);
    readonly ReadOnlySpan<float> _x = x, _w = w;
    readonly Span<byte> _scales = scales, _minimums = minimums;

    /// <summary>The scale of the scales, a half-precision number.</summary>
    public float D { get; private set; }

    /// <summary>The scale of the minimums, a half-precision number.</summary>
    public float DMin { get; private set; }

    /// <summary>Does it.</summary>
    public void Search()
    {
        Span<float> scale = stackalloc float[Groups], minimum = stackalloc float[Groups], scaleWeight = stackalloc float[Groups], minimumWeight = stackalloc float[Groups];
        for (int g = 0; g < Groups; g++)
        {
            (scale[g], float offset) = ScaleOffsetSearch.Find(GroupX(g), GroupW(g), _grid);
            minimum[g] = -offset;
            (scaleWeight[g], minimumWeight[g]) = Stiffness(g, scale[g], offset);
        }

        D = (float)(Half)ScaleSearch.Find(scale, scaleWeight, Scales);
        DMin = (float)(Half)ScaleSearch.Find(minimum, minimumWeight, Scales);
        for (int g = 0; g < Groups; g++)
        {
            _scales[g] = Nearest(scale[g], D);
            _minimums[g] = Nearest(minimum[g], DMin);
        }

        float error = Choose(D, DMin, reach: 8, _scales, _minimums);
        Span<byte> newScales = stackalloc byte[Groups], newMinimums = stackalloc byte[Groups];
        for (int i = 0; i < Refits; i++)
        {
            (float d, float dmin) = Refit();
            _scales.CopyTo(newScales);
            _minimums.CopyTo(newMinimums);
            float newError = Choose(d, dmin, reach: 4, newScales, newMinimums);
            if (!(newError < error))
            {
                return;
            }

            (D, DMin, error) = (d, dmin, newError);
            newScales.CopyTo(_scales);
            newMinimums.CopyTo(_minimums);
        }
    }

    /// <summary>The levels that follow from scales and minimums.</summary>
    /// <param name="levels">[256] filled.</param>
    public readonly void Levels(Span<byte> levels)
    {
        for (int g = 0; g < Groups; g++)
        {
            ScaleOffsetSearch.Quantize(GroupX(g), D * _scales[g], -(DMin * _minimums[g]), highest, levels.Slice(g * Width, Width));
        }
    }

    readonly ReadOnlySpan<float> GroupX(int g) => _x.Slice(g * Width, Width);

    readonly ReadOnlySpan<float> GroupW(int g) => _w.Slice(g * Width, Width);

    static byte Nearest(float value, float unit) => unit == 0 ? (byte)0 : (byte)Math.Clamp(MathF.Round(value / unit), 0, HighestScale);

    // Second derivatives of a group's error: how much a change of its scale or minimum costs.
    readonly (float Scale, float Minimum) Stiffness(int g, float scale, float offset)
    {
        Span<byte> levels = stackalloc byte[Width];
        ScaleOffsetSearch.Quantize(GroupX(g), scale, offset, highest, levels);
        ReadOnlySpan<float> weights = GroupW(g);
        float squares = 0, sum = 0;
        for (int i = 0; i < Width; i++)
        {
            squares += weights[i] * levels[i] * levels[i];
            sum += weights[i];
        }

        return (squares, sum);
    }

    // The best of reach × reach pairs around each group's own; returns the error of the whole block.
    readonly float Choose(float d, float dmin, int reach, Span<byte> scales, Span<byte> minimums)
    {
        Span<float> pairScales = stackalloc float[ScaleSearch.Lanes], pairMinimums = stackalloc float[ScaleSearch.Lanes];
        float total = 0;
        for (int g = 0; g < Groups; g++)
        {
            int middleScale = scales[g], middleMinimum = minimums[g];
            float best = float.PositiveInfinity;
            for (int pair = 0; pair < reach * reach; pair += ScaleSearch.Lanes)
            {
                for (int lane = 0; lane < ScaleSearch.Lanes; lane++)
                {
                    pairScales[lane] = Math.Clamp(middleScale + ((pair + lane) / reach) - (reach / 2), 0, HighestScale);
                    pairMinimums[lane] = Math.Clamp(middleMinimum + ((pair + lane) % reach) - (reach / 2), 0, HighestScale);
                }

                Vector512<float> errors = ScaleOffsetSearch.Errors(
                    GroupX(g), GroupW(g), Vector512.Create<float>(pairScales) * Vector512.Create(d), Vector512.Create<float>(pairMinimums) * Vector512.Create(-dmin), highest);
                int lowest = ScaleSearch.SmallestOf(errors);
                if (errors[lowest] < best)
                {
                    best = errors[lowest];
                    (scales[g], minimums[g]) = ((byte)pairScales[lowest], (byte)pairMinimums[lowest]);
                }
            }

            total += best;
        }

        return total;
    }

    // d and dmin that minimise Σ w · (x − d · a + dmin · b)², a = scale · level, b = minimum, as half-precision numbers.
    readonly (float D, float DMin) Refit()
    {
        Span<byte> levels = stackalloc byte[Groups * Width];
        Levels(levels);
        double aa = 0, ab = 0, bb = 0, xa = 0, xb = 0;
        for (int i = 0; i < levels.Length; i++)
        {
            double a = _scales[i / Width] * levels[i], b = _minimums[i / Width];
            aa += _w[i] * a * a;
            ab += _w[i] * a * b;
            bb += _w[i] * b * b;
            xa += _w[i] * _x[i] * a;
            xb += _w[i] * _x[i] * b;
        }

        double determinant = (aa * bb) - (ab * ab);
        return determinant > 1e-9 * aa * bb ? ((float)(Half)(((xa * bb) - (xb * ab)) / determinant), (float)(Half)(((xa * ab) - (xb * aa)) / determinant))
            : aa > 0 ? ((float)(Half)((xa + (DMin * ab)) / aa), DMin)
            : (D, DMin);
    }
}
