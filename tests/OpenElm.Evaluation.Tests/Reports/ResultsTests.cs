using System.Collections.Immutable;
using System.Text.Json;
using OpenElm.Evaluation.Metrics;
using OpenElm.Evaluation.Reports;
using OpenElm.Evaluation.Suites;
using OpenElm.Evaluation.Tasks;
using OpenElm.Evaluation.Tests.Metrics;
using OpenElm.Scoring;

namespace OpenElm.Evaluation.Tests.Reports;

public sealed class ResultsTests : IDisposable
{
    readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void A_report_survives_its_folder()
    {
        EvaluationReport report = Report("m", rights: 3);
        new ResultsFolder(_folder.Path).Write(report);
        EvaluationReport read = ResultsFolder.Read(_folder.Path);
        Assert.Equal(ResultsDocument.Of(report).ToJson(), ResultsDocument.Of(read).ToJson());
        Assert.Equal(report.Tasks[1].Items[1].Size, read.Tasks[1].Items[1].Size);
        Assert.Equal(report.Tasks[0].Items.SelectMany(item => item.Answer.Scores), read.Tasks[0].Items.SelectMany(item => item.Answer.Scores));
        Assert.Equal(read.Model, ResultsFolder.Read(Path.Combine(_folder.Path, "results.json")).Model);
    }

    [Fact]
    public void A_sample_line_holds_scores_and_metrics()
    {
        new ResultsFolder(_folder.Path).Write(Report("m", rights: 3));
        string[] lines = File.ReadAllLines(Path.Combine(_folder.Path, "samples", "quiz.0-shot.jsonl"));
        JsonElement first = JsonDocument.Parse(lines[0]).RootElement;
        Assert.Equal(4, lines.Length);
        Assert.Equal([-1.0, -2.0], first.GetProperty("logprobs").EnumerateArray().Select(value => value.GetDouble()));
        Assert.Equal(1, first.GetProperty("metrics").GetProperty("acc").GetDouble());
        Assert.False(first.TryGetProperty("words", out _));
    }

    [Fact]
    public void Damage_is_told_with_file_and_line()
    {
        new ResultsFolder(_folder.Path).Write(Report("m", rights: 3));
        string samples = Path.Combine(_folder.Path, "samples", "quiz.0-shot.jsonl");
        string[] lines = File.ReadAllLines(samples);
        File.WriteAllLines(samples, [lines[0], "{"]);
        Assert.Contains("quiz.0-shot.jsonl, line 2", Assert.Throws<OpenElmException>(() => ResultsFolder.Read(_folder.Path)).Message);
        File.WriteAllLines(samples, lines[..2]);
        Assert.Contains("has 2 lines", Assert.Throws<OpenElmException>(() => ResultsFolder.Read(_folder.Path)).Message);
        File.WriteAllText(Path.Combine(_folder.Path, "results.json"), "{\"format\": \"x\"}");
        Assert.Contains("no results file", Assert.Throws<OpenElmException>(() => ResultsFolder.Read(_folder.Path)).Message);
    }

    [Fact]
    public void The_table_is_the_harness()
    {
        Assert.Equal("""
            | Task     | Shots | Metric          |  Value | ±   | Stderr | Documents |
            | -------- | ----: | --------------- | -----: | --- | -----: | --------: |
            | quiz     |     0 | acc             | 0.7500 | ±   | 0.2500 |         4 |
            |          |     0 | acc_norm        | 0.7500 | ±   | 0.2500 |         4 |
            | wikitext |     0 | word_perplexity | 7.3891 | ±   | 0.0000 |         2 |

            """.ReplaceLineEndings("\n"), ResultsTables.Tasks(Report("m", rights: 3)));
    }

    [Fact]
    public void A_models_own_row_of_the_paper_stands_below_it()
    {
        EvaluationReport report = Report("x/OpenELM-270M", rights: 3) with { Suites = [EvaluationSuite.ZeroShot] };
        string table = ResultsTables.Suite(report, report.SuiteRows[0], comparePaper: true);
        Assert.Contains("| paper ", table);
        Assert.Contains("54.37", table);
        Assert.Contains("–", table); // what was not run
        Assert.DoesNotContain("paper", ResultsTables.Suite(report with { Model = "mine" }, report.SuiteRows[0], comparePaper: true));
    }

    [Fact]
    public void Two_models_are_compared_task_by_task()
    {
        ImmutableArray<PairedComparison> rows = ResultsComparison.Of(Report("a", rights: 1), Report("b", rights: 4));
        Assert.Equal(["acc", "acc_norm", "log word_perplexity"], rows.Select(row => row.Metric));
        Assert.Equal(0.75, rows[0].Difference);
        Assert.Equal(0.25, rows[0].PValue!.Value, 1e-12); // three documents of one mind: 2 / 2³
        Assert.Contains("noise", ResultsTables.Comparison(rows));
    }

    [Fact]
    public void Suites_are_compared_when_both_completed_them()
    {
        EvaluationReport Whole(double value) => Report("m", 1) with
        {
            Tasks = [.. EvaluationSuite.ZeroShot.Columns.Select(column => OpenElm.Evaluation.Tests.Suites.SuiteTests.Task(column.Task, 0, column.Metric, value))],
        };
        PairedComparison row = ResultsComparison.Of(Whole(0.2), Whole(0.4))[^1];
        Assert.Equal(("Zero-shot", "average", 0.2), (row.Name, row.Metric, Math.Round(row.Difference, 12)));
    }

    [Fact]
    public void Stand_ins_and_gaps_are_told_in_every_form()
    {
        EvaluationReport whole = Report("m", rights: 3);
        TaskResult quiz = whole.Tasks[0];
        var standIn = new StandIn(StandInKind.Documents, "test", "the split 'validation'");
        EvaluationReport report = whole with
        {
            MaxLength = 64,
            Limit = 4,
            Suites = [new EvaluationSuite("openllm", "Two", [new("Quiz", "quiz", 0, "acc"), new("Gone", "gone", 0, "acc")])],
            LeftOut = [new LeftOutTask("gone", null, 0, "no file")],
            Tasks = [quiz with { StandIns = [standIn], Items = [quiz.Items[0] with { Answer = quiz.Items[0].Answer with { IsTruncated = true } }, .. quiz.Items[1..]] }, whole.Tasks[1]],
        };
        Assert.Equal("""
            | Task     | Shots | Metric          |  Value | ±   | Stderr | Documents | Truncated [1] |
            | -------- | ----: | --------------- | -----: | --- | -----: | --------: | ------------: |
            | quiz [2] |     0 | acc             | 0.7500 | ±   | 0.2500 |         4 |             1 |
            |          |     0 | acc_norm        | 0.7500 | ±   | 0.2500 |         4 |             1 |
            | wikitext |     0 | word_perplexity | 7.3891 | ±   | 0.0000 |         2 |             0 |
            | gone [3] |     0 | –               |      – |     |        |         0 |             0 |

            [1] documents that are longer than the 64 tokens that the model takes: their beginning, examples first, is cut off
            [2] the documents are from the split 'validation': the split 'test' is missing
            [3] left out: its data cannot be read (the reason is among the warnings, and in the results as JSON)

            """.ReplaceLineEndings("\n"), ResultsTables.Tasks(report));
        Assert.Equal("""
            | Two (%)  | Quiz (0) [1] | Gone (0) | average [2] [3] [4] [5] |
            | -------- | -----------: | -------: | ----------------------: |
            | m        |        75.00 |        – |                       – |
            | ± stderr |        25.00 |        – |                       – |

            [1] the documents are from the split 'validation': the split 'test' is missing
            [2] there is no average: Gone has no value; the mean over the rest, 1 of 2 columns, is 75.00
            [3] 1 of 2 columns uses data that stand in for official ones: compare with other models on the same data only
            [4] documents in 1 of 2 columns are longer than the model takes, and truncated
            [5] of at most 4 documents of each task (--limit)

            """.ReplaceLineEndings("\n"), ResultsTables.Suite(report, report.SuiteRows[0], comparePaper: false));

        new ResultsFolder(_folder.Path).Write(report);
        JsonElement json = JsonDocument.Parse(File.ReadAllText(Path.Combine(_folder.Path, "results.json"))).RootElement;
        foreach (JsonElement place in new[] { json.GetProperty("tasks")[0], json.GetProperty("suites")[0].GetProperty("columns")[0] })
        {
            Assert.Equal("""{"kind":"documents","missing":"test","used":"the split 'validation'"}""", JsonSerializer.Serialize(place.GetProperty("stand_ins")[0]).Replace("\\u0027", "'", StringComparison.Ordinal));
        }

        Assert.Equal((1, "no file", 0.75), (json.GetProperty("tasks")[0].GetProperty("truncated").GetInt32(), json.GetProperty("left_out")[0].GetProperty("reason").GetString(),
            json.GetProperty("suites")[0].GetProperty("partial_average").GetDouble()));
        string sample = File.ReadLines(Path.Combine(_folder.Path, "samples", "quiz.0-shot.jsonl")).First();
        Assert.Contains("\"stand_ins\":[\"documents\"]", sample);
        Assert.Contains("\"truncated\":true", sample);
        EvaluationReport read = ResultsFolder.Read(_folder.Path);
        Assert.Equal(ResultsDocument.Of(report with { Suites = read.Suites }).ToJson(), ResultsDocument.Of(read).ToJson());
        Assert.Contains("quiz has other data: in the first file the documents are from the split 'validation': the split 'test' is missing, in the second the official ones",
            Assert.Throws<OpenElmException>(() => ResultsComparison.Of(report, whole)).Message);
    }

    [Fact]
    public void Texts_without_an_answer_are_counted()
    {
        ImmutableArray<EvaluationItem> items = [.. Enumerable.Range(0, 3).Select(i => new EvaluationItem { DocumentId = i, Requests = [new("", "")], Expected = new("yes|no", "yes") })];
        var task = new PreparedTask(new FakeTask("quiz", ["acc"], items) { Kind = RequestKind.Generation }, 0, items);
        EvaluationReport report = Report("m", rights: 3) with { Tasks = [TaskSummary.Of(task, [new() { Text = "yes, no" }, new() { Text = "no" }, new() { Text = "maybe" }])] };
        Assert.Equal("""
            | Task | Shots | Metric |  Value | ±   | Stderr | Documents | Unanswered [1] |
            | ---- | ----: | ------ | -----: | --- | -----: | --------: | -------------: |
            | quiz |     0 | acc    | 0.3333 | ±   | 0.3333 |         3 |              1 |

            [1] texts of the model in which no answer was found; they count as wrong

            """.ReplaceLineEndings("\n"), ResultsTables.Tasks(report));
        new ResultsFolder(_folder.Path).Write(report);
        Assert.Equal(1, ResultsFolder.Read(_folder.Path).Tasks[0].Unanswered);
        Assert.Equal("""{"doc_id":1,"text":"no","answer":"no","expected":"yes","metrics":{"acc":0}}""", File.ReadAllLines(Path.Combine(_folder.Path, "samples", "quiz.0-shot.jsonl"))[1]);
    }

    [Fact]
    public void What_cannot_be_paired_is_refused()
    {
        EvaluationReport one = Report("a", 1), other = Report("b", 1);
        EvaluationReport shorter = other with { Tasks = [other.Tasks[0] with { Items = other.Tasks[0].Items[..2] }] };
        Assert.Contains("only one file has document 2, 3", Assert.Throws<OpenElmException>(() => ResultsComparison.Of(one, shorter)).Message);
        EvaluationReport few = other with { Tasks = [other.Tasks[0] with { Shots = 5 }] };
        Assert.Contains("share no task", Assert.Throws<OpenElmException>(() => ResultsComparison.Of(one, few)).Message);
        Assert.Contains("seeds 1 and 2", Assert.Throws<OpenElmException>(() => ResultsComparison.Of(few with { Seed = 1 }, few with { Seed = 2 })).Message);
    }

    internal static EvaluationReport Report(string model, int rights)
    {
        ImmutableArray<EvaluationItem> quiz = [.. Enumerable.Range(0, 4).Select(i => ItemMetricTests.Item(["a", "b"], i < rights ? 0 : 1, i))];
        ImmutableArray<EvaluationItem> pages = [.. Enumerable.Range(0, 2).Select(i => new EvaluationItem { DocumentId = i, Requests = [new("", "text")], Size = (5 + i, 20) })];
        return new EvaluationReport
        {
            Model = model,
            Runtime = "inference",
            Version = "1",
            Date = new DateTimeOffset(2026, 1, 2, 3, 4, 5, TimeSpan.Zero),
            Seed = 1234,
            Tasks = [
                TaskSummary.Of(new PreparedTask(new FakeTask("quiz", ["acc", "acc_norm"], quiz), 0, quiz), [.. quiz.Select(_ => new ItemAnswer { Scores = ItemMetricTests.Scores(-1, -2) })]),
                TaskSummary.Of(new PreparedTask(new FakeTask("wikitext", ["word_perplexity"], pages), 0, pages), [.. pages.Select(page => new ItemAnswer { Scores = [new ContinuationScore(-2 * page.Size.Words, false)] })]),
            ],
        };
    }
}
