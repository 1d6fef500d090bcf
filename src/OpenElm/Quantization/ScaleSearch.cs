using System.Numerics;
using System.Runtime.Intrinsics;

namespace OpenElm.Quantization;

/// <summary>
/// Finds the scale d that minimises Σ weight · (x − d · q)², q = clamp(round(x ÷ d)). The error is a jagged function of d:
/// each step of a q moves it. So sixteen candidates are tried at once, one in each lane, over a grid of scales; each is moved
/// to the least-squares scale of its own q's, rounded to half precision, and the best wins; the numbers next to it are tried
/// last (<see cref="NearestHalf"/>). Legend: x numbers, w their weights, d scales, q levels.
/// </summary>
internal static class ScaleSearch
{
    /// <summary>Candidates tried at once.</summary>
    public const int Lanes = 16;

    /// <summary>Smaller numbers count as zero: their reciprocals overflow, and no format here can store them.</summary>
    public const float Tiny = 1e-30f;

    static readonly Vector512<float> LaneIndex = Vector512.Create(0f, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);

    /// <summary>Searches the grid.</summary>
    /// <param name="x">[n] numbers.</param>
    /// <param name="w">[n] weights, not negative.</param>
    /// <param name="grid">The levels and the scales to try.</param>
    /// <returns>The scale, of any sign and half precision; 0 if all numbers are zero.</returns>
    public static float Find(ReadOnlySpan<float> x, ReadOnlySpan<float> w, ScaleGrid grid)
    {
        float largest = 0;
        foreach (float value in x)
        {
            largest = MathF.Abs(value) > MathF.Abs(largest) ? value : largest;
        }

        if (MathF.Abs(largest) < Tiny)
        {
            return 0;
        }

        var best = new Best();
        Try(x, w, grid, largest, grid.Highest, ref best);
        if (grid.Lowest < 0)
        {
            Try(x, w, grid, largest, grid.Lowest, ref best);
        }

        return best.Scale();
    }

    /// <summary>The best scale among the half-precision numbers around one.</summary>
    /// <param name="x">[n] numbers.</param>
    /// <param name="w">[n] weights.</param>
    /// <param name="scale">The scale to round.</param>
    /// <param name="lowest">The lowest level.</param>
    /// <param name="highest">The highest level.</param>
    /// <returns>The scale to store.</returns>
    public static Half NearestHalf(ReadOnlySpan<float> x, ReadOnlySpan<float> w, float scale, int lowest, int highest)
    {
        Span<float> candidates = stackalloc float[Lanes];
        ScalePrecision.Half.Neighbours(scale, candidates);
        return (Half)candidates[SmallestOf(Errors(x, w, Vector512.Create<float>(candidates), lowest, highest))];
    }

    /// <summary>Σ w · (x − d · q)² of sixteen scales.</summary>
    /// <param name="x">[n] numbers.</param>
    /// <param name="w">[n] weights.</param>
    /// <param name="d">The scales.</param>
    /// <param name="lowest">The lowest level.</param>
    /// <param name="highest">The highest level.</param>
    /// <returns>The errors; no number where a scale is none.</returns>
    public static Vector512<float> Errors(ReadOnlySpan<float> x, ReadOnlySpan<float> w, Vector512<float> d, int lowest, int highest)
    {
        w = w[..x.Length];
        Vector512<float> inverse = Inverse(d), low = Vector512.Create((float)lowest), high = Vector512.Create((float)highest), error = Vector512<float>.Zero;
        for (int i = 0; i < x.Length; i++)
        {
            var number = Vector512.Create(x[i]);
            Vector512<float> q = Vector512.MinNative(Vector512.MaxNative(Vector512.Round(number * inverse), low), high);
            Vector512<float> rest = Vector512.FusedMultiplyAdd(-d, q, number);
            error = Vector512.FusedMultiplyAdd(Vector512.Create(w[i]) * rest, rest, error);
        }

        return error;
    }

    /// <summary>Quantises with a given scale.</summary>
    /// <param name="x">[n] numbers, n a multiple of 16.</param>
    /// <param name="d">The scale.</param>
    /// <param name="lowest">The lowest level.</param>
    /// <param name="highest">The highest level.</param>
    /// <param name="q">[n] levels.</param>
    public static void Quantize(ReadOnlySpan<float> x, float d, int lowest, int highest, Span<sbyte> q)
    {
        Vector512<float> inverse = Inverse(Vector512.Create(d)), low = Vector512.Create((float)lowest), high = Vector512.Create((float)highest);
        for (int i = 0; i < x.Length; i += Lanes)
        {
            Vector512<float> level = Vector512.MinNative(Vector512.MaxNative(Vector512.Round(Vector512.Create(x.Slice(i, Lanes)) * inverse), low), high);
            Narrow(Vector512.ConvertToInt32Native(level)).AsSByte().CopyTo(q[i..]);
        }
    }

    /// <summary>1 ÷ d, and 0 for 0: every q is 0 then.</summary>
    /// <param name="d">The scales.</param>
    /// <returns>Their reciprocals.</returns>
    public static Vector512<float> Inverse(Vector512<float> d) =>
        Vector512.ConditionalSelect(Vector512.Equals(d, Vector512<float>.Zero), Vector512<float>.Zero, Vector512<float>.One / d);

    /// <summary>The lane of the smallest error.</summary>
    /// <param name="errors">The errors; lanes that are no numbers lose.</param>
    /// <returns>The lane.</returns>
    public static int SmallestOf(Vector512<float> errors)
    {
        Vector512<float> comparable = Vector512.ConditionalSelect(Vector512.Equals(errors, errors), errors, Vector512.Create(float.PositiveInfinity));
        Vector256<float> eight = Vector256.MinNative(comparable.GetLower(), comparable.GetUpper());
        Vector128<float> four = Vector128.MinNative(eight.GetLower(), eight.GetUpper());
        float smallest = MathF.Min(MathF.Min(four[0], four[1]), MathF.Min(four[2], four[3]));
        return BitOperations.TrailingZeroCount(Vector512.Equals(comparable, Vector512.Create(smallest)).ExtractMostSignificantBits());
    }

    /// <summary>Keeps the lowest byte of each number.</summary>
    /// <param name="values">Numbers that fit into a byte, signed or not.</param>
    /// <returns>The bytes.</returns>
    public static Vector128<byte> Narrow(Vector512<int> values)
    {
        Vector256<short> shorts = Vector256.Narrow(values.GetLower(), values.GetUpper());
        return Vector128.Narrow(shorts.GetLower(), shorts.GetUpper()).AsByte();
    }

    // The largest number falls on levels around the given outermost one, which has its sign or the other.
    static void Try(ReadOnlySpan<float> x, ReadOnlySpan<float> w, ScaleGrid grid, float largest, int outermost, ref Best best)
    {
        float first = Math.Abs(outermost) - grid.Below;
        for (int pass = 0; pass < grid.Passes; pass++)
        {
            Vector512<float> level = Vector512.FusedMultiplyAdd(LaneIndex + Vector512.Create((float)(pass * Lanes)), Vector512.Create(grid.Step), Vector512.Create(first));
            TryAll(x, w, Vector512.Create(outermost < 0 ? -largest : largest) / level, grid, ref best);
        }
    }

    static void TryAll(ReadOnlySpan<float> x, ReadOnlySpan<float> w, Vector512<float> d, ScaleGrid grid, ref Best best)
    {
        w = w[..x.Length];
        Vector512<float> inverse = Inverse(d), low = Vector512.Create((float)grid.Lowest), high = Vector512.Create((float)grid.Highest);
        Vector512<float> error = Vector512<float>.Zero, slope = error, curvature = error;
        for (int i = 0; i < x.Length; i++)
        {
            Vector512<float> number = Vector512.Create(x[i]), weight = Vector512.Create(w[i]);
            Vector512<float> q = Vector512.MinNative(Vector512.MaxNative(Vector512.Round(number * inverse), low), high);
            Vector512<float> rest = Vector512.FusedMultiplyAdd(-d, q, number), weighted = weight * rest;
            error = Vector512.FusedMultiplyAdd(weighted, rest, error);
            slope = Vector512.FusedMultiplyAdd(weighted, q, slope);
            curvature = Vector512.FusedMultiplyAdd(weight * q, q, curvature);
        }

        // For these q's the error is a parabola: error − 2 · slope · δ + curvature · δ², smallest at δ = slope ÷ curvature.
        Vector512<float> change = Vector512.ConditionalSelect(Vector512.GreaterThan(curvature, Vector512<float>.Zero), slope / curvature, Vector512<float>.Zero);
        Vector512<float> stored = ScalePrecision.Half.Round(d + change);
        change = stored - d;
        best.Offer(Vector512.FusedMultiplyAdd(change, (curvature * change) - (slope + slope), error), stored);
    }

    /// <summary>The best candidate of each lane so far.</summary>
    struct Best()
    {
        Vector512<float> _error = Vector512.Create(float.PositiveInfinity);
        Vector512<float> _scale = Vector512<float>.Zero;

        public void Offer(Vector512<float> error, Vector512<float> scale)
        {
            Vector512<float> better = Vector512.LessThan(error, _error);
            _error = Vector512.ConditionalSelect(better, error, _error);
            _scale = Vector512.ConditionalSelect(better, scale, _scale);
        }

        public readonly float Scale() => _scale[SmallestOf(_error)];
    }
}
