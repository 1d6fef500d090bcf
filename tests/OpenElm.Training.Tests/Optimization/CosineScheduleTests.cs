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

    [Fact]
    public void Impossible_schedules_are_reported_with_every_reason()
    {
        var problems = new List<string>();
        new CosineSchedule(double.NaN, -1, 10, 5).Validate(problems);

        Assert.Equal(3, problems.Count);
    }
}
