namespace OpenElm.Inference.Tests;

/// <summary>Comparison of arrays that says where and by how much they differ.</summary>
internal static class Close
{
    /// <summary>Every element within an absolute allowance.</summary>
    public static void Assert(ReadOnlySpan<float> expected, ReadOnlySpan<float> actual, double allowance)
    {
        Xunit.Assert.Equal(expected.Length, actual.Length);
        for (int i = 0; i < expected.Length; i++)
        {
            // Written so that NaN fails.
            if (!(Math.Abs((double)expected[i] - actual[i]) <= allowance) && expected[i] != actual[i])
            {
                Xunit.Assert.Fail($"Element {i} of {expected.Length}: expected {expected[i]:g9}, found {actual[i]:g9}, difference {Math.Abs(expected[i] - actual[i]):g3}, allowed {allowance:g3}.");
            }
        }
    }
}
