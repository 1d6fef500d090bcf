using System.Collections.Immutable;

namespace OpenElm.Evaluation.Metrics;

/// <summary>
/// From documents to a metric and its standard error. Means: sample standard deviation ÷ √n, as in the harness. Perplexities:
/// a bootstrap over documents with <see cref="Resamples"/> resamples of a fixed seed. (The harness draws 100,000 for
/// <c>perplexity</c>, the same estimate with less noise of its own, and gives none for the weighted ones.)
/// </summary>
public static class MetricSummary
{
    /// <summary>Resamples of the bootstrap: its own error is 1 / √(2 · 1000), some 2 % of the standard error.</summary>
    public const int Resamples = 1000;

    /// <summary>Summarises a metric.</summary>
    /// <param name="metric">The harness' name.</param>
    /// <param name="items">The documents.</param>
    /// <param name="index">Where the metric's value is among each document's values.</param>
    /// <returns>The metric.</returns>
    /// <exception cref="OpenElmException">There is no document.</exception>
    public static MetricValue Of(string metric, ImmutableArray<ItemResult> items, int index)
    {
        if (items.IsEmpty)
        {
            throw new OpenElmException($"There are no documents; {metric} has no value.");
        }

        double[] values = [.. items.Select(item => item.Values[index])];
        if (!IsPerplexity(metric))
        {
            return new MetricValue(metric, values.Average(), StandardErrorOfMean(values));
        }

        double[] weights = [.. items.Select(item => Weight(metric, item))];
        return new MetricValue(metric, FromRate(metric, values.Sum() / weights.Sum()), Bootstrap(metric, values, weights));
    }

    /// <summary>Whether a metric is a perplexity: lower is better, and its documents are weighted.</summary>
    /// <param name="metric">The name.</param>
    /// <returns>Whether.</returns>
    public static bool IsPerplexity(string metric) => metric is "perplexity" or "word_perplexity" or "byte_perplexity" or "bits_per_byte";

    /// <summary>Sample standard deviation ÷ √n.</summary>
    /// <param name="values">The documents' values.</param>
    /// <returns>The standard error; null for fewer than two.</returns>
    public static double? StandardErrorOfMean(ReadOnlySpan<double> values)
    {
        if (values.Length < 2)
        {
            return null;
        }

        double mean = 0, squares = 0;
        foreach (double value in values)
        {
            mean += value / values.Length;
        }

        foreach (double value in values)
        {
            squares += (value - mean) * (value - mean);
        }

        return Math.Sqrt(squares / (values.Length - 1) / values.Length);
    }

    /// <summary>What a perplexity divides a document's log-probability by.</summary>
    /// <param name="metric">The name.</param>
    /// <param name="item">The document.</param>
    /// <returns>Words, bytes, or 1.</returns>
    internal static double Weight(string metric, ItemResult item) => metric switch
    {
        "word_perplexity" => item.Size.Words,
        "byte_perplexity" or "bits_per_byte" => item.Size.Bytes,
        _ => 1,
    };

    static double FromRate(string metric, double rate) => metric == "bits_per_byte" ? -rate / Math.Log(2) : Math.Exp(-rate);

    static double? Bootstrap(string metric, double[] values, double[] weights)
    {
        if (values.Length < 2)
        {
            return null;
        }

        var random = new Random(1234);
        double[] resampled = new double[Resamples];
        for (int r = 0; r < Resamples; r++)
        {
            double sum = 0, weight = 0;
            for (int i = 0; i < values.Length; i++)
            {
                int drawn = random.Next(values.Length);
                sum += values[drawn];
                weight += weights[drawn];
            }

            resampled[r] = FromRate(metric, sum / weight);
        }

        return StandardErrorOfMean(resampled) * Math.Sqrt(Resamples); // the spread of the resamples themselves
    }
}
