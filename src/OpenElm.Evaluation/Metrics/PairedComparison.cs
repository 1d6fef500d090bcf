using System.Collections.Immutable;

namespace OpenElm.Evaluation.Metrics;

/// <summary>How two models differ on the same documents. Most of a score's chance is which documents were asked; it cancels when the answers are paired.</summary>
/// <param name="Name">The task, group or suite.</param>
/// <param name="Metric">The metric.</param>
/// <param name="Documents">Documents that both answered.</param>
/// <param name="First">The first model's value.</param>
/// <param name="Second">The second model's value.</param>
/// <param name="Low">The lower end of the difference's 95 % confidence interval.</param>
/// <param name="High">The upper end.</param>
/// <param name="PValue">The probability of a difference this large, if the models were equally good: exact (McNemar's sign test) where documents count 0 or 1, else by Student's t; null for fewer than two documents.</param>
public sealed record PairedComparison(string Name, string Metric, int Documents, double First, double Second, double? Low, double? High, double? PValue)
{
    /// <summary>Second − first.</summary>
    public double Difference => Second - First;

    /// <summary>The standard error of the difference; null for fewer than two documents.</summary>
    public double? StandardError { get; init; }

    /// <summary>Compares a metric that is a mean.</summary>
    /// <param name="name">The task.</param>
    /// <param name="metric">The metric.</param>
    /// <param name="first">The first model's documents.</param>
    /// <param name="second">The second model's, in the same order.</param>
    /// <returns>The comparison.</returns>
    public static PairedComparison OfMeans(string name, string metric, ReadOnlySpan<double> first, ReadOnlySpan<double> second)
    {
        double[] differences = new double[first.Length];
        double firstSum = 0, secondSum = 0;
        for (int i = 0; i < differences.Length; i++)
        {
            differences[i] = second[i] - first[i];
            firstSum += first[i];
            secondSum += second[i];
        }

        PairedComparison comparison = Of(name, metric, differences.Length, firstSum / differences.Length, secondSum / differences.Length, MetricSummary.StandardErrorOfMean(differences));
        return comparison.PValue is not null && IsBinary(first) && IsBinary(second)
            ? comparison with { PValue = SignTest(differences.Count(d => d > 0), differences.Count(d => d < 0)) }
            : comparison;
    }

    /// <summary>
    /// Compares a perplexity by its logarithm per weight: bits a byte, or nats a word or document. The standard error is that of a ratio of sums.
    /// </summary>
    /// <param name="name">The task.</param>
    /// <param name="metric">The metric.</param>
    /// <param name="first">The first model's log-probabilities.</param>
    /// <param name="second">The second model's.</param>
    /// <param name="weights">Words or bytes of each document.</param>
    /// <returns>The comparison; its values are −Σ log-probability ÷ Σ weight, in bits for <c>bits_per_byte</c>.</returns>
    public static PairedComparison OfRates(string name, string metric, ReadOnlySpan<double> first, ReadOnlySpan<double> second, ReadOnlySpan<double> weights)
    {
        double unit = metric == "bits_per_byte" ? -1 / Math.Log(2) : -1;
        double weight = 0, firstSum = 0, secondSum = 0;
        for (int i = 0; i < weights.Length; i++)
        {
            weight += weights[i];
            firstSum += unit * first[i];
            secondSum += unit * second[i];
        }

        double rate = (secondSum - firstSum) / weight, squares = 0;
        for (int i = 0; i < weights.Length; i++)
        {
            double residual = unit * (second[i] - first[i]) - rate * weights[i];
            squares += residual * residual;
        }

        int n = weights.Length;
        double? error = n < 2 ? null : Math.Sqrt(squares * n / (n - 1)) / weight;
        return Of(name, metric == "bits_per_byte" ? metric : $"log {metric}", n, firstSum / weight, secondSum / weight, error);
    }

    /// <summary>The average of independent comparisons, each counting the same.</summary>
    /// <param name="name">The suite.</param>
    /// <param name="parts">Its columns.</param>
    /// <returns>The comparison; p-value and interval from the normal distribution.</returns>
    public static PairedComparison OfAverage(string name, ImmutableArray<PairedComparison> parts)
    {
        double? error = parts.Any(part => part.StandardError is null) ? null : Math.Sqrt(parts.Sum(part => part.StandardError!.Value * part.StandardError.Value)) / parts.Length;
        return Of(name, "average", parts.Sum(part => part.Documents), parts.Average(part => part.First), parts.Average(part => part.Second), error, double.PositiveInfinity);
    }

    /// <summary>The exact two-sided sign test: how often a fair coin is at least this uneven.</summary>
    /// <param name="better">Documents that only the second model got right.</param>
    /// <param name="worse">Documents that only the first got right.</param>
    /// <returns>The p-value; 1 where no document tells them apart.</returns>
    public static double SignTest(int better, int worse)
    {
        int n = better + worse, few = Math.Min(better, worse);
        double logChoose = -n * Math.Log(2), tail = 0; // ln (n over k) / 2ⁿ
        for (int k = 0; k <= few; k++)
        {
            tail += Math.Exp(logChoose);
            logChoose += Math.Log((double)(n - k) / (k + 1));
        }

        return Math.Min(1, 2 * tail);
    }

    static PairedComparison Of(string name, string metric, int documents, double first, double second, double? error, double? freedom = null)
    {
        if (error is not { } se)
        {
            return new PairedComparison(name, metric, documents, first, second, null, null, null);
        }

        double difference = second - first, degrees = freedom ?? documents - 1;
        double reach = StudentT.Critical(0.05, degrees) * se;
        double p = se > 0 ? StudentT.TwoSided(difference / se, degrees) : difference == 0 ? 1 : 0;
        return new PairedComparison(name, metric, documents, first, second, difference - reach, difference + reach, p) { StandardError = se };
    }

    static bool IsBinary(ReadOnlySpan<double> values) => !values.ContainsAnyExcept(0.0, 1.0);
}
