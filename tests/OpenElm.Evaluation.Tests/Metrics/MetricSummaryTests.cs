using System.Collections.Immutable;
using OpenElm.Evaluation.Metrics;

namespace OpenElm.Evaluation.Tests.Metrics;

public sealed class MetricSummaryTests
{
    [Fact]
    public void A_mean_has_the_sample_deviation_over_the_root_of_n()
    {
        // 1, 0, 0, 1, 1: mean 0.6, sample variance 0.3, standard error √(0.3 / 5)
        MetricValue metric = MetricSummary.Of("acc", Items([1, 0, 0, 1, 1]), 0);
        Assert.Equal(0.6, metric.Value, 1e-15);
        Assert.Equal(Math.Sqrt(0.06), metric.StandardError!.Value, 1e-15);
        Assert.Null(MetricSummary.Of("acc", Items([1]), 0).StandardError);
        Assert.Throws<OpenElmException>(() => MetricSummary.Of("acc", [], 0));
    }

    [Fact]
    public void Perplexities_divide_sums()
    {
        ImmutableArray<ItemResult> items = [new(0, new ItemAnswer(), [-10.0]) { Size = (4, 20) }, new(1, new ItemAnswer(), [-2.0]) { Size = (2, 10) }];
        Assert.Equal(Math.Exp(2), MetricSummary.Of("word_perplexity", items, 0).Value, 1e-12);
        Assert.Equal(Math.Exp(0.4), MetricSummary.Of("byte_perplexity", items, 0).Value, 1e-12);
        Assert.Equal(0.4 / Math.Log(2), MetricSummary.Of("bits_per_byte", items, 0).Value, 1e-12);
        Assert.Equal(Math.Exp(6), MetricSummary.Of("perplexity", items, 0).Value, 1e-9);
    }

    [Fact]
    public void The_bootstrap_agrees_with_theory_and_repeats()
    {
        // Of bits a byte with equal weights the standard error is known: that of the mean.
        var random = new Random(7);
        double[] bits = [.. Enumerable.Range(0, 400).Select(_ => random.NextDouble() * 4)];
        ImmutableArray<ItemResult> items = [.. bits.Select((value, i) => new ItemResult(i, new ItemAnswer(), [-value * 8 * Math.Log(2)]) { Size = (1, 8) })];
        MetricValue metric = MetricSummary.Of("bits_per_byte", items, 0);
        double exact = MetricSummary.StandardErrorOfMean(bits)!.Value;
        Assert.InRange(metric.StandardError!.Value, exact * 0.9, exact * 1.1); // 1000 resamples: 2.2 % of noise, four times that
        Assert.Equal(metric, MetricSummary.Of("bits_per_byte", items, 0));
    }

    [Fact]
    public void Groups_weigh_documents_and_pool_errors_as_the_harness_does()
    {
        TaskResult Task(string name, params double[] values)
        {
            ImmutableArray<ItemResult> items = Items(values);
            return new TaskResult(name, "mmlu", 5, [MetricSummary.Of("acc", items, 0)], items);
        }

        GroupResult group = Assert.Single(GroupResult.Of([Task("mmlu_a", 1, 0, 0), Task("mmlu_b", 1, 1, 0, 1, 1)]));
        Assert.Equal(("mmlu", 5, 2, 8), (group.Name, group.Shots, group.Tasks.Length, group.Documents));
        Assert.Equal(5 / 8.0, group.Metrics[0].Value, 1e-15); // not (1/3 + 4/5) / 2
        // Sums of squares: 2/3 and 4/5; pooled variance (2/3 + 4/5) / (8 − 2); over N = 8.
        Assert.Equal(Math.Sqrt((2 / 3.0 + 4 / 5.0) / 6 / 8), group.Metrics[0].StandardError!.Value, 1e-15);
    }

    static ImmutableArray<ItemResult> Items(double[] values) => [.. values.Select((value, i) => new ItemResult(i, new ItemAnswer(), [value]))];
}
