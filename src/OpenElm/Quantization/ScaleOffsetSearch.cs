using System.Runtime.Intrinsics;

namespace OpenElm.Quantization;

/// <summary>
/// Finds scale d and offset m that minimise Σ weight · (x − d · q − m)², q = clamp(round((x − m) ÷ d)) from 0 to a highest
/// level: as <see cref="ScaleSearch"/>, over a grid of ends: where level 0 and the highest level lie, from inside of the block's
/// range (clipping the extremes) to outside of it.
/// </summary>
internal static class ScaleOffsetSearch
{
    const int Lanes = ScaleSearch.Lanes;

    // Ends of the grid, in steps of the range: 8 for each end.
    const int EndsOfGrid = 8;

    static readonly Vector512<float> LowEnds = Vector512.Create(0f, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7);
    static readonly Vector512<float> HighEnds = Vector512.Create(0f, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);

    /// <summary>Searches the grid.</summary>
    /// <param name="x">[n] numbers.</param>
    /// <param name="w">[n] weights, not negative.</param>
    /// <param name="grid">The levels and the ends to try.</param>
    /// <returns>Scale and offset, as stored; scale 0 if all numbers are equal.</returns>
    public static (float Scale, float Offset) Find(ReadOnlySpan<float> x, ReadOnlySpan<float> w, OffsetGrid grid)
    {
        float low = x[0], high = x[0];
        foreach (float value in x)
        {
            (low, high) = (Math.Min(low, value), Math.Max(high, value));
        }

        low = grid.AtMostZero ? Math.Min(low, 0) : low;
        float range = high - low;
        if (range < ScaleSearch.Tiny)
        {
            return (0, grid.Precision.Round(low));
        }

        float unit = range / grid.Highest, spacing = (grid.Inside + grid.Outside) / (EndsOfGrid - 1);
        Vector512<float> bestError = Vector512.Create(float.PositiveInfinity), bestScale = Vector512<float>.Zero, bestOffset = bestScale;
        for (int pass = 0; pass < EndsOfGrid / 2; pass++)
        {
            Vector512<float> from = Vector512.FusedMultiplyAdd(LowEnds, Vector512.Create(spacing * unit), Vector512.Create(low - (grid.Outside * unit)));
            Vector512<float> to = Vector512.FusedMultiplyAdd(HighEnds + Vector512.Create(2f * pass), Vector512.Create(-spacing * unit), Vector512.Create(high + (grid.Outside * unit)));
            from = grid.AtMostZero ? Vector512.MinNative(from, Vector512<float>.Zero) : from;
            (Vector512<float> error, Vector512<float> scale, Vector512<float> offset) = Fit(x, w, (to - from) / Vector512.Create((float)grid.Highest), from, grid);
            Vector512<float> better = Vector512.LessThan(error, bestError);
            bestError = Vector512.ConditionalSelect(better, error, bestError);
            bestScale = Vector512.ConditionalSelect(better, scale, bestScale);
            bestOffset = Vector512.ConditionalSelect(better, offset, bestOffset);
        }

        int lane = ScaleSearch.SmallestOf(bestError);
        return (bestScale[lane], bestOffset[lane]);
    }

    /// <summary>The best pair among the stored numbers around scale and offset.</summary>
    /// <param name="x">[n] numbers.</param>
    /// <param name="w">[n] weights.</param>
    /// <param name="scale">The scale.</param>
    /// <param name="offset">The offset.</param>
    /// <param name="grid">The levels and how scale and offset are stored.</param>
    /// <returns>The pair to store.</returns>
    public static (float Scale, float Offset) Refine(ReadOnlySpan<float> x, ReadOnlySpan<float> w, float scale, float offset, OffsetGrid grid)
    {
        Span<float> scales = stackalloc float[4], offsets = stackalloc float[4], d = stackalloc float[Lanes], m = stackalloc float[Lanes];
        grid.Precision.Neighbours(scale, scales);
        grid.Precision.Neighbours(offset, offsets);
        for (int lane = 0; lane < Lanes; lane++)
        {
            (d[lane], m[lane]) = (scales[lane / 4], offsets[lane % 4]);
        }

        int best = ScaleSearch.SmallestOf(Errors(x, w, Vector512.Create<float>(d), Vector512.Create<float>(m), grid.Highest));
        return (d[best], m[best]);
    }

    /// <summary>Σ w · (x − d · q − m)² of sixteen pairs.</summary>
    /// <param name="x">[n] numbers.</param>
    /// <param name="w">[n] weights.</param>
    /// <param name="d">The scales.</param>
    /// <param name="m">The offsets.</param>
    /// <param name="highest">The highest level.</param>
    /// <returns>The errors.</returns>
    public static Vector512<float> Errors(ReadOnlySpan<float> x, ReadOnlySpan<float> w, Vector512<float> d, Vector512<float> m, int highest)
    {
        w = w[..x.Length];
        Vector512<float> inverse = ScaleSearch.Inverse(d), high = Vector512.Create((float)highest), error = Vector512<float>.Zero;
        for (int i = 0; i < x.Length; i++)
        {
            Vector512<float> number = Vector512.Create(x[i]) - m;
            Vector512<float> q = Vector512.MinNative(Vector512.MaxNative(Vector512.Round(number * inverse), Vector512<float>.Zero), high);
            Vector512<float> rest = Vector512.FusedMultiplyAdd(-d, q, number);
            error = Vector512.FusedMultiplyAdd(Vector512.Create(w[i]) * rest, rest, error);
        }

        return error;
    }

    /// <summary>Quantises with a given pair.</summary>
    /// <param name="x">[n] numbers, n a multiple of 16.</param>
    /// <param name="d">The scale.</param>
    /// <param name="m">The offset.</param>
    /// <param name="highest">The highest level.</param>
    /// <param name="q">[n] levels.</param>
    public static void Quantize(ReadOnlySpan<float> x, float d, float m, int highest, Span<byte> q)
    {
        Vector512<float> inverse = ScaleSearch.Inverse(Vector512.Create(d)), offset = Vector512.Create(m), high = Vector512.Create((float)highest);
        for (int i = 0; i < x.Length; i += Lanes)
        {
            Vector512<float> level = Vector512.Round((Vector512.Create(x.Slice(i, Lanes)) - offset) * inverse);
            level = Vector512.MinNative(Vector512.MaxNative(level, Vector512<float>.Zero), high);
            ScaleSearch.Narrow(Vector512.ConvertToInt32Native(level)).CopyTo(q[i..]);
        }
    }

    // For fixed q's the error is a paraboloid of (δ scale, δ offset); its minimum is a 2×2 linear system.
    static (Vector512<float> Error, Vector512<float> Scale, Vector512<float> Offset) Fit(
        ReadOnlySpan<float> x, ReadOnlySpan<float> w, Vector512<float> d, Vector512<float> m, OffsetGrid grid)
    {
        w = w[..x.Length];
        Vector512<float> zero = Vector512<float>.Zero, inverse = ScaleSearch.Inverse(d), high = Vector512.Create((float)grid.Highest);
        Vector512<float> error = zero, rests = zero, restsQ = zero, weights = zero, weightsQ = zero, weightsQQ = zero;
        for (int i = 0; i < x.Length; i++)
        {
            Vector512<float> number = Vector512.Create(x[i]) - m, weight = Vector512.Create(w[i]);
            Vector512<float> q = Vector512.MinNative(Vector512.MaxNative(Vector512.Round(number * inverse), zero), high);
            Vector512<float> rest = Vector512.FusedMultiplyAdd(-d, q, number), weighted = weight * rest, weightedQ = weight * q;
            error = Vector512.FusedMultiplyAdd(weighted, rest, error);
            rests += weighted;
            restsQ = Vector512.FusedMultiplyAdd(weighted, q, restsQ);
            weights += weight;
            weightsQ += weightedQ;
            weightsQQ = Vector512.FusedMultiplyAdd(weightedQ, q, weightsQQ);
        }

        Vector512<float> determinant = (weights * weightsQQ) - (weightsQ * weightsQ);
        Vector512<float> solvable = Vector512.GreaterThan(determinant, Vector512.Create(1e-6f) * weights * weightsQQ);
        Vector512<float> changeD = Vector512.ConditionalSelect(solvable, ((weights * restsQ) - (weightsQ * rests)) / determinant, zero);
        Vector512<float> changeM = Vector512.ConditionalSelect(solvable, ((weightsQQ * rests) - (weightsQ * restsQ)) / determinant, zero);
        if (grid.AtMostZero)
        {
            // Where the minimum lies beyond offset 0, the best allowed point is on the border: offset 0, the scale alone is free.
            Vector512<float> beyond = Vector512.GreaterThan(m + changeM, zero);
            changeM = Vector512.ConditionalSelect(beyond, -m, changeM);
            Vector512<float> alone = Vector512.ConditionalSelect(Vector512.GreaterThan(weightsQQ, zero), (restsQ - (changeM * weightsQ)) / weightsQQ, zero);
            changeD = Vector512.ConditionalSelect(beyond, alone, changeD);
        }

        Vector512<float> storedD = grid.Precision.Round(d + changeD), storedM = grid.Precision.Round(m + changeM);
        (changeD, changeM) = (storedD - d, storedM - m);

        // error − 2 (δd · restsQ + δm · rests) + δd² · weightsQQ + 2 δd δm · weightsQ + δm² · weights
        Vector512<float> two = Vector512.Create(2f);
        Vector512<float> inD = changeD * ((changeD * weightsQQ) + (two * ((changeM * weightsQ) - restsQ)));
        Vector512<float> inM = changeM * ((changeM * weights) - (two * rests));
        return (error + inD + inM, storedD, storedM);
    }
}
