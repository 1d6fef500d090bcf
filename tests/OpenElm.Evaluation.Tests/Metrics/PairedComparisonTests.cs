using OpenElm.Evaluation.Metrics;

namespace OpenElm.Evaluation.Tests.Metrics;

public sealed class PairedComparisonTests
{
    // From printed tables of Student's t.
    [Theory]
    [InlineData(1, 12.706)]
    [InlineData(4, 2.776)]
    [InlineData(30, 2.042)]
    [InlineData(1000, 1.962)]
    [InlineData(double.PositiveInfinity, 1.960)]
    public void Critical_values_are_those_of_the_tables(double freedom, double expected) => Assert.Equal(expected, StudentT.Critical(0.05, freedom), 5e-4);

    [Theory]
    [InlineData(0, 1)]
    [InlineData(1, 0.31731050786291415)] // Python: math.erfc(z / math.sqrt(2))
    [InlineData(2.9, 0.003731626600768077)]
    [InlineData(3.1, 0.0019352064264367124)]
    [InlineData(6, 1.9731752900754024e-09)]
    public void Normal_tails_are_exact(double z, double expected)
    {
        double actual = StudentT.TwoSided(z, double.PositiveInfinity);
        Assert.InRange(actual, expected * (1 - 1e-8), expected * (1 + 1e-8));
        Assert.Equal(actual, StudentT.TwoSided(-z, double.PositiveInfinity));
    }

    [Theory]
    [InlineData(0, 0, 1)]
    [InlineData(5, 0, 0.0625)]
    [InlineData(8, 2, 0.109375)] // 2 · (1 + 10 + 45) / 1024
    [InlineData(2, 8, 0.109375)]
    [InlineData(5, 5, 1)]
    public void The_sign_test_is_exact(int better, int worse, double expected) => Assert.Equal(expected, PairedComparison.SignTest(better, worse), 1e-12);

    [Fact]
    public void A_sign_test_of_many_documents_neither_overflows_nor_vanishes() => Assert.InRange(PairedComparison.SignTest(5100, 4900), 0.04, 0.06); // z = 1.99 with continuity

    [Fact]
    public void Means_are_compared_document_by_document()
    {
        // Differences 1, 2, 3, 4, 5: mean 3, standard error √(2.5 / 5), t = 4.2426, p = 0.01324 with 4 degrees of freedom.
        PairedComparison row = PairedComparison.OfMeans("task", "mc2", [10, 10, 10, 10, 10], [11, 12, 13, 14, 15]);
        Assert.Equal((10, 13, 3), (row.First, row.Second, row.Difference));
        Assert.Equal(0.013236, row.PValue!.Value, 1e-6);
        Assert.Equal(3 - 2.776445 * Math.Sqrt(0.5), row.Low!.Value, 1e-5);
        Assert.Equal(3 + 2.776445 * Math.Sqrt(0.5), row.High!.Value, 1e-5);
    }

    [Fact]
    public void Accuracies_get_the_exact_test()
    {
        PairedComparison row = PairedComparison.OfMeans("task", "acc", [0, 0, 0, 0, 0, 1], [1, 1, 1, 1, 1, 1]);
        Assert.Equal(0.0625, row.PValue!.Value, 1e-12); // t would say 0.004
        PairedComparison same = PairedComparison.OfMeans("task", "acc", [1, 0], [1, 0]);
        Assert.Equal((0, 1), (same.Difference, same.PValue!.Value));
        Assert.Null(PairedComparison.OfMeans("task", "acc", [1], [0]).PValue);
    }

    [Fact]
    public void Perplexities_are_compared_by_their_rates()
    {
        // The second model needs exactly 0.1 bits a byte more everywhere: no spread, whatever the lengths.
        double bit = Math.Log(2);
        double[] bytes = [10, 20, 70], first = [-10 * bit, -30 * bit, -50 * bit];
        double[] second = [.. first.Zip(bytes, (value, size) => value - 0.1 * size * bit)];
        PairedComparison row = PairedComparison.OfRates("wikitext", "bits_per_byte", first, second, bytes);
        Assert.Equal(0.9, row.First, 1e-12);
        Assert.Equal(0.1, row.Difference, 1e-12);
        Assert.Equal(0, row.StandardError!.Value, 1e-9);
    }

    [Fact]
    public void An_average_adds_the_variances_of_its_columns()
    {
        PairedComparison Part(double error) => new("t", "acc", 100, 0.5, 0.6, 0, 0, 0) { StandardError = error };
        PairedComparison row = PairedComparison.OfAverage("suite", [Part(0.03), Part(0.04)]);
        Assert.Equal(0.025, row.StandardError!.Value, 1e-12);
        Assert.Equal(0.1, row.Difference, 1e-12);
        Assert.Equal(0.1 - 1.959964 * 0.025, row.Low!.Value, 1e-6);
        Assert.Equal(6.334248366623993e-05, row.PValue!.Value, 1e-10); // |z| = 4
    }
}
