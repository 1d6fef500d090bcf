using OpenElm.Evaluation.Metrics;
using OpenElm.Evaluation.Suites;
using OpenElm.Evaluation.Tasks;

namespace OpenElm.Evaluation.Tests.Suites;

public sealed class SuiteTests
{
    public static TheoryData<string> Printed => [.. EvaluationSuite.All.Where(suite => PaperNumbers.Of(suite) is not []).Select(suite => suite.Name)];

    [Theory, MemberData(nameof(Printed))]
    public void The_papers_averages_are_the_means_of_their_cells(string name)
    {
        var suite = EvaluationSuite.Find(name);
        Assert.Equal(8, PaperNumbers.Of(suite).Length);
        foreach (PaperRow row in PaperNumbers.Of(suite))
        {
            Assert.Equal(suite.Columns.Length, row.Cells.Length);
            Assert.Equal(row.Average, row.Cells.Average(), 0.011); // the paper rounds the mean of unrounded cells
        }
    }

    [Theory]
    [InlineData("apple/OpenELM-270M", "OpenELM-270M", 54.37)]
    [InlineData("models/openelm-1_1b-instruct/", "OpenELM-1.1B-Instruct", 65.50)]
    [InlineData("OpenELM-3B.Q8_0.gguf", "OpenELM-3B", 67.39)]
    [InlineData("openelm-1.1B", "OpenELM-1.1B", 63.44)]
    public void Models_of_the_paper_are_known_by_name(string path, string model, double average)
    {
        PaperRow? row = PaperNumbers.Find(EvaluationSuite.ZeroShot, path);
        Assert.Equal((model, average), (row!.Model, row.Average));
    }

    [Theory]
    [InlineData("openelm-270m-lora")]
    [InlineData("runs/quickstart")]
    [InlineData("my-openelm-270m")]
    public void Other_models_are_not(string path) => Assert.Null(PaperNumbers.Find(EvaluationSuite.ZeroShot, path));

    [Fact]
    public void Every_column_is_a_task_or_group_that_gives_its_metric() =>
        Assert.All(EvaluationSuite.All.SelectMany(suite => suite.Columns), column =>
            Assert.All(TaskCatalog.Get(column.Task), task => Assert.Contains(column.Metric, task.Metrics)));

    [Fact]
    public void An_average_needs_all_columns()
    {
        TaskResult[] tasks = [.. EvaluationSuite.ZeroShot.Columns.Select((column, i) => Task(column.Task, column.Shots, column.Metric, 0.1 * i))];
        var whole = SuiteResult.Of(EvaluationSuite.ZeroShot, tasks);
        Assert.Equal(0.3, whole.Average!.Value, 1e-12);
        Assert.Equal(0.01 * Math.Sqrt(7) / 7, whole.StandardError!.Value, 1e-12);
        var part = SuiteResult.Of(EvaluationSuite.ZeroShot, tasks[1..]);
        Assert.Equal((null, null), (part.Average, part.StandardError));
        Assert.Equal(0.35, part.PartialAverage!.Value, 1e-12); // of the six that are there
        Assert.Equal(["ARC-c"], part.Missing.Select(column => column.Title));
        Assert.Null(SuiteResult.Of(EvaluationSuite.ZeroShot, [.. tasks[1..], tasks[0] with { Shots = 25 }]).Average); // another number of examples is another task
    }

    [Fact]
    public void A_column_may_be_a_group()
    {
        TaskResult[] tasks = [Task("mmlu_a", 5, "acc", 0.2) with { Group = "mmlu" }, Task("mmlu_b", 5, "acc", 0.4) with { Group = "mmlu" }];
        Assert.Equal(0.3, SuiteResult.Of(EvaluationSuite.OpenLlm, tasks).Cells[2].Value!.Value, 1e-12);
    }

    [Fact]
    public void A_group_that_lacks_a_task_has_no_value()
    {
        TaskResult[] tasks = [Task("mmlu_a", 5, "acc", 0.2) with { Group = "mmlu", StandIns = [new StandIn(StandInKind.Examples, "dev", "x")] }];
        SuiteCell Mmlu(int shots) => SuiteResult.Of(EvaluationSuite.OpenLlm, tasks, [new LeftOutTask("mmlu_b", "mmlu", shots, "no file")]).Cells[2];
        Assert.Null(Mmlu(5).Value);
        Assert.Equal(0.2, Mmlu(0).Value!.Value, 1e-12); // left out with another number of examples
        Assert.Equal(tasks[0].StandIns, Mmlu(5).StandIns);
    }

    [Fact]
    public void An_unknown_suite_is_told_with_those_there_are() =>
        Assert.Contains("zero-shot, openllm, llm360, commonsense", Assert.Throws<OpenElmException>(() => EvaluationSuite.Find("big-bench")).Message);

    internal static TaskResult Task(string name, int shots, string metric, double value) =>
        new(name, null, shots, [new MetricValue(metric, value, 0.01)], [new ItemResult(0, new ItemAnswer(), [value]), new ItemResult(1, new ItemAnswer(), [value])]);
}
