using System.Runtime.Intrinsics;
using OpenElm.Inference.Kernels.Vectors;

namespace OpenElm.Inference.Tests.Kernels;

public sealed class ExponentialTests
{
    [Fact]
    public void It_is_within_two_units_in_the_last_place()
    {
        double worst = 0;
        for (float x = -87.2f; x < 88.3f; x += 0.0007f)
        {
            float actual = Exponential.Of(Vector256.Create(x))[0];
            double expected = Math.Exp(x);
            worst = Math.Max(worst, Math.Abs(actual - expected) / (MathF.BitIncrement((float)expected) - (float)expected));
        }

        Assert.InRange(worst, 0.4, 2);
    }

    [Fact]
    public void Beyond_the_range_of_floats_it_is_zero_or_infinite_and_no_number_stays_none()
    {
        Vector256<float> e = Exponential.Of(Vector256.Create(float.NegativeInfinity, -1e30f, -88, 0, -0f, 89, float.PositiveInfinity, float.NaN));
        Assert.Equal(Vector256.Create(0, 0, 0, 1, 1, float.PositiveInfinity, float.PositiveInfinity, float.NaN), e);
    }
}
