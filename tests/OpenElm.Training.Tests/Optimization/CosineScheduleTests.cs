using OpenElm.Training.Optimization;

namespace OpenElm.Training.Tests.Optimization;

public sealed class CosineScheduleTests
{
    static readonly long[] Steps = [0, 1, 2500, 4999, 5000, 50000, 100000, 177500, 250000, 300000, 349999, 350000];

    // Section 14 of the reference.
    public static TheoryData<double, double[]> Table => new()
    {
        { 0.0053, [1e-06, 2.06e-06, 0.0026505, 0.00529894, 0.0053, 0.00510255, 0.00446187, 0.00291501, 0.00145237, 0.00077297, 0.00053, 0.00053] },
        { 0.0039, [1e-06, 1.78e-06, 0.0019505, 0.00389922, 0.0039, 0.00375471, 0.00328326, 0.00214501, 0.00106873, 0.00056879, 0.00039, 0.00039] },
        { 0.0024, [1e-06, 1.48e-06, 0.0012005, 0.00239952, 0.0024, 0.00231059, 0.00202047, 0.00132, 0.00065768, 0.00035003, 0.00024, 0.00024] },
        { 0.0012, [1e-06, 1.24e-06, 0.0006005, 0.00119976, 0.0012, 0.00115529, 0.00101024, 0.00066, 0.00032884, 0.00017501, 0.00012, 0.00012] },
    };

    [Theory, MemberData(nameof(Table))]
    public void Follows_the_table(double peak, double[] expected)
    {
        var schedule = new CosineSchedule(peak, peak / 10, 5000, 350000);

        Assert.Equal(expected, Steps.Select(schedule.LearningRate), (a, b) => Math.Abs(a - b) < 1e-12);
    }

    [Fact]
    public void Follows_the_table_of_the_lora_recipe()
    {
        // Peak 3e-4 after 1000 updates, a floor of a tenth of it after 4375.
        var schedule = new CosineSchedule(3e-4, 3e-5, 1000, 4375);

        Assert.Equal([1e-06, 0.0001505, 0.0003, 0.00024565, 0.00012635, 3.818e-05, 3e-05], new long[] { 0, 500, 1000, 2000, 3000, 4000, 4375 }.Select(schedule.LearningRate), (a, b) => Math.Abs(a - b) < 1e-12);
    }

    // Section 7.1: linear from 0 over a tenth of the updates, rounded up, then a cosine to 0; written out from transformers' formula
    // 0.5 · (1 + cos(π · (t − 3) / 18)) for 21 updates.
    [Fact]
    public void A_warm_up_may_be_a_share_of_the_updates_and_the_floor_zero()
    {
        CosineSchedule schedule = new ScheduleConfig { MaxLearningRate = 3e-5, MinLearningRate = 0, WarmupInitLearningRate = 0, WarmupRatio = 0.1, Decimals = null }.Over(21);

        double[] expected = [0, 1e-5, 2e-5, 3e-5, 3e-5 * 0.9924038765061041, 3e-5 * 0.75, 1.5e-5, 3e-5 * 0.25, 3e-5 * 0.00759612349389599];
        Assert.Equal(expected, new long[] { 0, 1, 2, 3, 4, 9, 12, 15, 20 }.Select(schedule.LearningRate), (a, b) => Math.Abs(a - b) < 1e-18);
    }

    [Fact]
    public void A_warm_up_is_given_in_updates_or_as_a_share()
    {
        var problems = new List<string>();
        new ScheduleConfig { MaxLearningRate = 1, MinLearningRate = 0, WarmupIterations = 3, WarmupRatio = 1.5, Decimals = -1 }.Validate("schedule", problems);
        Assert.Collection(problems, p => Assert.Contains("warmup_ratio is 1.5", p, StringComparison.Ordinal), p => Assert.Contains("alternatives", p, StringComparison.Ordinal), p => Assert.Contains("decimals is -1", p, StringComparison.Ordinal));
        Assert.Equal((5000, 3, 2), (Warmup(null, null), Warmup(3, null), Warmup(null, 0.15)));

        static int Warmup(int? iterations, double? ratio) => new ScheduleConfig { MaxLearningRate = 1, MinLearningRate = 0, WarmupIterations = iterations, WarmupRatio = ratio }.WarmupOf(10);
    }

    [Fact]
    public void Impossible_schedules_are_reported_with_every_reason()
    {
        var problems = new List<string>();
        new CosineSchedule(double.NaN, -1, 10, 5).Validate(problems);

        Assert.Equal(3, problems.Count);
    }
}
