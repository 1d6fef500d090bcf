using OpenElm.Checkpoints;

namespace OpenElm.Tests.Quantization;

/// <summary>The search against the plain one: every scale that the format can store, tried in turn.</summary>
public sealed class SearchTests
{
    [Theory]
    [InlineData(DType.Q4_0, -8, 7, 0.02)] // large weights count a little more here than in the plain sum of squares
    [InlineData(DType.Q5_0, -16, 15, 0.02)]
    [InlineData(DType.Q8_0, -127, 127, 0.06)] // a finer grid would gain these percents at several times the cost
    public void Scales_are_close_to_the_best_of_all_that_can_be_stored(DType dtype, int lowest, int highest, double allowed)
    {
        const int blocks = 40;
        float[] x = BlockFormatsTests.Normal(blocks * 32, seed: 11, 0.04f), y = BlockFormatsTests.RoundTrip(dtype, x);
        double best = 0, ours = 0;
        for (int b = 0; b < blocks; b++)
        {
            float[] block = x[(b * 32)..((b + 1) * 32)];
            best += SmallestError(block, lowest, highest);
            ours += BlockFormatsTests.Error(block, y[(b * 32)..((b + 1) * 32)]);
        }

        Assert.InRange(ours / best, 1 - 1e-6, 1 + allowed);
    }

    static double SmallestError(float[] x, int lowest, int highest)
    {
        double smallest = x.Sum(value => (double)value * value);
        float largest = x.Max(MathF.Abs);
        for (int bits = 1; bits < 0x7C00; bits++)
        {
            float d = (float)BitConverter.UInt16BitsToHalf((ushort)bits);
            if (d * highest < largest / 3 || d > largest)
            {
                continue; // far too small or too large
            }

            foreach (float signed in new[] { d, -d })
            {
                double error = 0;
                foreach (float value in x)
                {
                    double rest = value - (signed * (double)Math.Clamp(MathF.Round(value / signed), lowest, highest));
                    error += rest * rest;
                }

                smallest = Math.Min(smallest, error);
            }
        }

        return smallest;
    }
}
