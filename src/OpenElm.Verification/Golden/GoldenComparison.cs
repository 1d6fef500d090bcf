namespace OpenElm.Verification.Golden;

/// <summary>Compares what a runtime gave with the reference.</summary>
internal static class GoldenComparison
{
    /// <summary>Compares tensors.</summary>
    /// <param name="name">What is compared.</param>
    /// <param name="expected">The reference.</param>
    /// <param name="actual">Ours; null or of another size fails.</param>
    /// <param name="measure">Which error is limited.</param>
    /// <param name="allowance">The limit.</param>
    /// <returns>The comparison.</returns>
    public static GoldenCheck Compare(string name, ReadOnlySpan<float> expected, float[]? actual, GoldenMeasure measure, double allowance)
    {
        if (actual is null || actual.Length != expected.Length)
        {
            return new GoldenCheck(name, double.PositiveInfinity, double.PositiveInfinity, measure, allowance);
        }

        double largest = 0, squares = 0, reference = 0;
        for (int i = 0; i < actual.Length; i++)
        {
            // Equal infinities (what a sampler dropped) agree; any other infinity or NaN spoils the errors, and so fails.
            double difference = expected[i] == actual[i] ? 0 : Math.Abs((double)expected[i] - actual[i]);
            largest = double.IsNaN(difference) ? double.NaN : Math.Max(largest, difference);
            squares += difference * difference;
            reference += float.IsFinite(expected[i]) ? (double)expected[i] * expected[i] : 0;
        }

        return new GoldenCheck(name, largest, squares == 0 ? 0 : Math.Sqrt(squares / reference), measure, allowance);
    }

    /// <summary>Compares numbers.</summary>
    /// <param name="name">What is compared.</param>
    /// <param name="expected">The reference.</param>
    /// <param name="actual">Ours.</param>
    /// <param name="measure">Which error is limited.</param>
    /// <param name="allowance">The limit.</param>
    /// <returns>The comparison.</returns>
    public static GoldenCheck Compare(string name, double expected, double actual, GoldenMeasure measure, double allowance)
    {
        double difference = Math.Abs(expected - actual);
        return new GoldenCheck(name, difference, difference == 0 ? 0 : difference / Math.Abs(expected), measure, allowance);
    }
}
