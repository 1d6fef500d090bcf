using System.Numerics;

namespace OpenElm.Training.Kernels.Fused;

/// <summary>RMSNorm of one row and its gradient.</summary>
/// <remarks>
/// With r = rsqrt(mean(x²) + ε), x̂ = x·r and g = dy·w: y = x̂·w, dx = r·(g − x̂·mean(g·x̂)), dw = Σ rows dy·x̂.
/// </remarks>
internal static class RmsNormRow
{
    /// <summary>rsqrt(mean(x²) + ε).</summary>
    /// <param name="x">[width].</param>
    /// <param name="eps">ε.</param>
    public static float InverseRms(ReadOnlySpan<float> x, double eps)
    {
        Vector<float> sum0 = Vector<float>.Zero, sum1 = Vector<float>.Zero;
        int i = 0, lanes = Vector<float>.Count;
        for (; i <= x.Length - (2 * lanes); i += 2 * lanes)
        {
            Vector<float> a = new(x[i..]), b = new(x[(i + lanes)..]);
            (sum0, sum1) = (sum0 + (a * a), sum1 + (b * b));
        }

        float squares = Vector.Sum(sum0 + sum1);
        for (; i < x.Length; i++)
        {
            squares += x[i] * x[i];
        }

        return 1 / MathF.Sqrt((squares / x.Length) + (float)eps);
    }

    /// <summary>y = x · scale · weight; with rounding, x · scale is rounded to bfloat16 first.</summary>
    /// <param name="x">[width].</param>
    /// <param name="scale">The inverse RMS.</param>
    /// <param name="weight">[width].</param>
    /// <param name="rounds">Whether the row's type is bfloat16.</param>
    /// <param name="y">[width]; may be x.</param>
    public static void Scale(ReadOnlySpan<float> x, float scale, ReadOnlySpan<float> weight, bool rounds, Span<float> y)
    {
        if (rounds)
        {
            Multiply(x, scale, y);
            BFloat16Rounding.Round(y);
            Multiply(y, weight, y);
            return;
        }

        int i = 0;
        for (; i <= x.Length - Vector<float>.Count; i += Vector<float>.Count)
        {
            (new Vector<float>(x[i..]) * scale * new Vector<float>(weight[i..])).CopyTo(y[i..]);
        }

        for (; i < x.Length; i++)
        {
            y[i] = x[i] * scale * weight[i];
        }
    }

    /// <summary>The gradient of one row.</summary>
    /// <param name="x">[width].</param>
    /// <param name="scale">The inverse RMS.</param>
    /// <param name="weight">[width].</param>
    /// <param name="dy">[width].</param>
    /// <param name="dx">[width], written; may be dy.</param>
    /// <param name="dw">[width], added to.</param>
    public static void Gradient(ReadOnlySpan<float> x, float scale, ReadOnlySpan<float> weight, ReadOnlySpan<float> dy, Span<float> dx, Span<float> dw)
    {
        Vector<float> sum = Vector<float>.Zero;
        int i = 0, lanes = Vector<float>.Count;
        for (; i <= x.Length - lanes; i += lanes)
        {
            Vector<float> normalized = new Vector<float>(x[i..]) * scale, d = new(dy[i..]);
            Vector<float> dNormalized = d * normalized;
            (new Vector<float>(dw[i..]) + dNormalized).CopyTo(dw[i..]);
            sum += dNormalized * new Vector<float>(weight[i..]);
        }

        float dot = Vector.Sum(sum);
        for (; i < x.Length; i++)
        {
            float dNormalized = dy[i] * x[i] * scale;
            dw[i] += dNormalized;
            dot += dNormalized * weight[i];
        }

        float mean = dot / x.Length * scale;
        for (i = 0; i <= x.Length - lanes; i += lanes)
        {
            Vector<float> g = new Vector<float>(dy[i..]) * new Vector<float>(weight[i..]);
            ((g - (new Vector<float>(x[i..]) * mean)) * scale).CopyTo(dx[i..]);
        }

        for (; i < x.Length; i++)
        {
            dx[i] = ((dy[i] * weight[i]) - (x[i] * mean)) * scale;
        }
    }

    static void Multiply(ReadOnlySpan<float> x, float factor, Span<float> y)
    {
        int i = 0;
        for (; i <= x.Length - Vector<float>.Count; i += Vector<float>.Count)
        {
            (new Vector<float>(x[i..]) * factor).CopyTo(y[i..]);
        }

        for (; i < x.Length; i++)
        {
            y[i] = x[i] * factor;
        }
    }

    static void Multiply(ReadOnlySpan<float> x, ReadOnlySpan<float> factors, Span<float> y)
    {
        int i = 0;
        for (; i <= x.Length - Vector<float>.Count; i += Vector<float>.Count)
        {
            (new Vector<float>(x[i..]) * new Vector<float>(factors[i..])).CopyTo(y[i..]);
        }

        for (; i < x.Length; i++)
        {
            y[i] = x[i] * factors[i];
        }
    }
}
