using OpenElm.Training.Reporting;

namespace OpenElm.Training.Tests.Reporting;

public sealed class DurationsTests
{
    [Theory]
    [InlineData(0, "0.0 s")]
    [InlineData(8.26, "8.3 s")]
    [InlineData(59.94, "59.9 s")]
    [InlineData(59.96, "1 min 00 s")]
    [InlineData(3599.9, "1 h 00 min")]
    [InlineData(249, "4 min 09 s")]
    [InlineData(7500, "2 h 05 min")]
    [InlineData(97_200, "1 d 3 h")]
    public void Two_units_are_enough(double seconds, string expected) => Assert.Equal(expected, Durations.Format(TimeSpan.FromSeconds(seconds)));
}
