using System.Text.RegularExpressions;
using System.Xml.Linq;
using OpenElm.Diagnostics;
using OpenElm.Training.Reporting;

namespace OpenElm.Training.Tests.Reporting;

public sealed partial class HtmlReportTests
{
    [Fact]
    public void The_report_shows_everything_and_needs_nothing_else()
    {
        string html = HtmlReport.Render(Report());
        foreach (string part in new[]
        {
            "Completed 300 steps on 1,228,800 tokens in 5 min 00 s", "tiny &lt;run&gt;", "max_steps: 300", "Held-out text", "12.18", // e^2.5
            "needs 2.5000 nats a token and a bigram model 4.1000: better by 1.6000", "Once</span> upon", "&lt;b&gt;", "kept", "99.8 %", "tokenizer", "1 min 05 s", "bigram model on held-out text",
        })
        {
            Assert.Contains(part, html);
        }

        Assert.Equal(4, SvgElement().Count(html));
        Assert.DoesNotMatch("(?i)<script|<link|<img|src=|url\\((?!#)|@import", html);
        Assert.DoesNotContain("NaN", html);
    }

    [Fact]
    public void Every_picture_is_well_formed_and_has_its_curve()
    {
        var ids = new HashSet<string>(); // one page, one name space
        foreach (Match svg in SvgElement().Matches(HtmlReport.Render(Report())))
        {
            XElement picture = XElement.Parse(svg.Value);
            string[] own = [.. picture.Descendants().Attributes("id").Select(id => id.Value)];
            Assert.All(own, id => Assert.True(ids.Add(id), $"{id} is in two pictures"));
            Assert.All(picture.Descendants().Attributes("clip-path"), clip => Assert.Contains(clip.Value[5..^1], own)); // url(#ID)
            Assert.Contains(picture.Descendants().Where(e => e.Name.LocalName == "polyline"), line => line.Attribute("points")!.Value.Split(' ').Length > 100);
        }
    }

    [Fact]
    public void Long_runs_stay_small()
    {
        RunReport report = Report() with { Steps = [.. Enumerable.Range(1, 50_000).Select(i => Runs.Step(i, 5))] };
        Assert.InRange(HtmlReport.Render(report).Length, 10_000, 500_000);
    }

    [Fact]
    public void A_failed_run_says_why_even_without_a_single_good_step()
    {
        string html = HtmlReport.Render(Report() with { Steps = [], Validations = [], Bigram = null, Samples = [], End = new RunEnd(RunOutcome.Failed, 0, default, "the loss is NaN in step 1") });
        Assert.Contains("Failed after 0 of 300 steps: the loss is NaN in step 1", html);
        Assert.DoesNotContain("<svg", html);
        HtmlReport.Render(Report() with { Steps = [Runs.Step(1, double.NaN)] }); // no curve to draw, no exception
    }

    [Fact]
    public void The_file_is_the_rendered_document()
    {
        using var folder = new TemporaryFolder();
        HtmlReport.Write(folder["report.html"], Report());
        Assert.Equal(HtmlReport.Render(Report()), File.ReadAllText(folder["report.html"]));
    }

    [Fact]
    public void An_evaluation_comes_into_a_written_report_and_the_next_replaces_it()
    {
        using var folder = new TemporaryFolder();
        string path = folder["report.html"];
        Assert.False(HtmlReport.SetEvaluation(path, "<h2>none</h2>\n"));
        HtmlReport.Write(path, Report());
        Assert.True(HtmlReport.SetEvaluation(path, "<h2>first</h2>\n"));
        Assert.True(HtmlReport.SetEvaluation(path, "<h2>second</h2>\n"));
        Assert.Equal(HtmlReport.Render(Report()), File.ReadAllText(path).Replace("<h2>second</h2>\n", "", StringComparison.Ordinal));
        File.WriteAllText(path, "<html>of another version</html>");
        Assert.False(HtmlReport.SetEvaluation(path, "<h2>third</h2>\n"));
        Assert.Equal("<html>of another version</html>", File.ReadAllText(path));
    }

    static RunReport Report() => new()
    {
        Run = Runs.Info,
        End = new RunEnd(RunOutcome.Completed, 300, TimeSpan.FromMinutes(5)),
        WrittenAt = new DateTimeOffset(2026, 1, 2, 3, 4, 5, TimeSpan.Zero),
        Machine = new Machine("0.1.0", ".NET 10", "Debian", "x64", "EPYC", 2, 1L << 30, 256, ["avx2"], "workstation"),
        Configuration = "trainer:\n  max_steps: 300\n",
        Steps = [.. Enumerable.Range(1, 300).Select(i => Runs.Step(i, 2.4 + (6 * Math.Exp(-i / 60.0)) + (0.1 * Math.Sin(i))))],
        Validations = [.. new[] { 100, 200, 300 }.Select(step => new ValidationMetrics { Step = step, Loss = 2.5 + (300 - step) / 200.0, Tokens = 5000, BitsPerByte = 1.1 })],
        Bigram = new BigramComparison("a bigram model", 4.1, 2.5, 5000),
        Data = [new ReportFact("kept", "99.8 %")],
        Model = [new ReportFact("layers", "4")],
        Timings = [new ReportTiming("tokenizer", TimeSpan.FromSeconds(65))],
        Samples = [new GeneratedSample(300, "Once", " upon a <b>time</b>")],
    };

    [GeneratedRegex("<svg.*?</svg>", RegexOptions.Singleline)]
    private static partial Regex SvgElement();
}
