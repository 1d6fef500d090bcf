using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace OpenElm.Inference.Kernels.Vectors;

/// <summary>
/// e^x of 8 floats to about one unit in the last place: x = n · ln 2 + r with |r| ≤ ln 2 / 2, the series of e^r, and 2^n by the exponent's bits.
/// .NET's own goes through doubles and took half the time of attention's softmax.
/// </summary>
internal static class Exponential
{
    // Adding 1.5 · 2^23 rounds to an integer, which is then in the lowest bits.
    const float Rounder = 12582912;

    // ln 2 in two parts: n times the first is exact, since its last bits are zeros.
    const float Ln2Upper = 0.693359375f, Ln2Lower = -2.12194440e-4f;

    // Outside of these, 2^n has no normal float.
    const float Smallest = -87.3f, Largest = 88.37f;

    /// <summary>e^x.</summary>
    /// <param name="x">Any numbers.</param>
    /// <returns>0 below −87.3, infinity above 88.37, NaN for NaN.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Of(Vector256<float> x)
    {
        Vector256<float> rounded = Vector256.FusedMultiplyAdd(x, Vector256.Create(1.44269504f), Vector256.Create(Rounder));
        Vector256<float> n = rounded - Vector256.Create(Rounder);
        Vector256<float> r = Vector256.FusedMultiplyAdd(n, Vector256.Create(-Ln2Upper), x);
        r = Vector256.FusedMultiplyAdd(n, Vector256.Create(-Ln2Lower), r);
        Vector256<float> series = Vector256.FusedMultiplyAdd(r, Vector256.Create(1 / 5040f), Vector256.Create(1 / 720f));
        series = Vector256.FusedMultiplyAdd(r, series, Vector256.Create(1 / 120f));
        series = Vector256.FusedMultiplyAdd(r, series, Vector256.Create(1 / 24f));
        series = Vector256.FusedMultiplyAdd(r, series, Vector256.Create(1 / 6f));
        series = Vector256.FusedMultiplyAdd(r, series, Vector256.Create(0.5f));
        series = Vector256.FusedMultiplyAdd(r, series, Vector256<float>.One);
        series = Vector256.FusedMultiplyAdd(r, series, Vector256<float>.One);
        Vector256<float> power = ((rounded.AsInt32() - Vector256.Create(Rounder).AsInt32() + Vector256.Create(127)) << 23).AsSingle();
        Vector256<float> result = Vector256.AndNot(series * power, Vector256.LessThan(x, Vector256.Create(Smallest)));
        return Vector256.ConditionalSelect(Vector256.GreaterThan(x, Vector256.Create(Largest)), Vector256.Create(float.PositiveInfinity), result);
    }
}
