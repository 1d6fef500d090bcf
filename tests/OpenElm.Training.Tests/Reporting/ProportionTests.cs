using OpenElm.Training.Reporting;

namespace OpenElm.Training.Tests.Reporting;

/// <summary>Wilson's interval against the published values of Newcombe (Statistics in Medicine 17, 1998, table I, method 3).</summary>
public sealed class ProportionTests
{
    [Theory]
    [InlineData(81, 263, 0.2553, 0.3662)]
    [InlineData(15, 148, 0.0624, 0.1605)]
    [InlineData(0, 20, 0.0000, 0.1611)]
    [InlineData(1, 29, 0.0061, 0.1718)]
    public void The_interval_is_Wilsons(int successes, int count, double low, double high)
    {
        var proportion = new Proportion(successes / (double)count, count);
        Assert.Equal(low, proportion.Low, 5e-5);
        Assert.Equal(high, proportion.High, 5e-5);
    }

    [Fact]
    public void It_reads_as_a_sentence() => Assert.Equal("0.3080 of 263 (95 % interval 0.2553 to 0.3662)", new Proportion(81 / 263.0, 263).ToString());
}
