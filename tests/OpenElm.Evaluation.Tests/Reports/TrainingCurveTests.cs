using System.Xml.Linq;
using OpenElm.Evaluation.Reports;
using OpenElm.Evaluation.Suites;

namespace OpenElm.Evaluation.Tests.Reports;

public sealed class TrainingCurveTests
{
    static readonly TrainingCurve Curve = new("quick & dirty", [
        new("step-00000010", 10, false, ResultsTests.Report("m", 1)),
        new("step-00000020", 20, false, ResultsTests.Report("m", 2)),
        new("average", 20, true, ResultsTests.Report("m", 4)),
    ]);

    [Fact]
    public void Each_task_is_a_line_by_the_metric_that_counts()
    {
        Assert.Equal([("quiz", "acc_norm"), ("wikitext", "word_perplexity")], Curve.Lines.Select(line => (line.Task, line.Metric)));
        Assert.Equal([0.25, 0.5, 1], Curve.Lines[0].Values.Select(value => value.Value));
    }

    [Fact]
    public void The_table_has_a_row_for_each_checkpoint()
    {
        string[] rows = Curve.ToMarkdown().TrimEnd().Split('\n');
        Assert.Equal(5, rows.Length);
        Assert.StartsWith("| step-00000010 |         10 | 0.2500 ± 0.2500 |", rows[2]);
        string[] csv = Curve.ToCsv().TrimEnd().Split('\n');
        Assert.Equal(7, csv.Length);
        Assert.Equal("average,20,1,\"quiz\",acc_norm,1,0", csv[5]);
    }

    [Fact]
    public void Suites_come_first_with_their_average()
    {
        EvaluationReport Report(double value) => ResultsTests.Report("m", 1) with
        {
            Suites = [EvaluationSuite.ZeroShot],
            Tasks = [.. EvaluationSuite.ZeroShot.Columns.Select(column => OpenElm.Evaluation.Tests.Suites.SuiteTests.Task(column.Task, 0, column.Metric, value))],
        };
        var curve = new TrainingCurve("run", [new("a", 1, false, Report(0.2)), new("b", 2, false, Report(0.3))]);
        Assert.Equal(8, curve.Lines.Length);
        Assert.Equal("Zero-shot average", curve.Lines[^1].Title);
        Assert.Equal(0.3, curve.Lines[^1].Values[1].Value, 1e-12);
    }

    [Fact]
    public void Page_tables_and_pictures_are_written()
    {
        using var folder = new TemporaryFolder();
        string page = File.ReadAllText(CurvePage.Write(Curve, folder.Path));
        Assert.Contains("quick &amp; dirty: evaluation", page);
        Assert.Equal(2, page.Split("<svg").Length - 1);
        Assert.Contains("◆", page);
        var picture = XDocument.Load(folder["evaluation/quiz.svg"]);
        Assert.Equal(3, picture.Descendants().Count(e => e.Name.LocalName is "ellipse" or "circle" or "polygon" && Colours(e))); // two checkpoints and the average
        Assert.True(File.Exists(folder["evaluation/evaluation.csv"]) && File.Exists(folder["evaluation/evaluation.md"]));
    }

    static bool Colours(XElement element) => $"{element.Attribute("style")?.Value}{element.Attribute("fill")?.Value}".ToLowerInvariant() is var style
        && (style.Contains("rgb(31,111,178", StringComparison.Ordinal) || style.Contains("rgb(217,95,2", StringComparison.Ordinal));
}
