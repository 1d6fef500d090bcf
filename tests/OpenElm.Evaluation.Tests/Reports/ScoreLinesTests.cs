using System.Collections.Immutable;
using OpenElm.Evaluation.Reports;
using OpenElm.Evaluation.Tasks;
using OpenElm.Evaluation.Tests.Metrics;

namespace OpenElm.Evaluation.Tests.Reports;

public sealed class ScoreLinesTests : IDisposable
{
    static readonly (string, ImmutableArray<EvaluationItem>)[] Tasks = [("t", [ItemMetricTests.Item(["a", "b"], 0), ItemMetricTests.Item(["c", "d"], 1, id: 7)])];

    readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Scores_come_in_any_order()
    {
        var scores = ScoreLines.Read(File(Line(7, 1, -4), Line(0, 0, -1), Line(7, 0, -3), Line(0, 1, -2).Replace("}", ", \"engine\": \"x\"}")));
        Assert.Equal([-1, -2, -3, -4], scores.Of(Tasks)[0].SelectMany(item => item).Select(score => score.LogProbability));
    }

    [Fact]
    public void Missing_and_unknown_requests_are_counted_and_named()
    {
        var scores = ScoreLines.Read(File(Line(0, 0, -1), Line(8, 0, -1), Line(0, 2, -1)));
        string message = Assert.Throws<OpenElmException>(() => scores.Of(Tasks)).Message;
        Assert.Contains("3 requests have no score: t document 0 request 1; t document 7 request 0; t document 7 request 1", message);
        Assert.Contains("2 scores belong to no request: t document", message);
    }

    [Fact]
    public void Only_the_first_few_are_named()
    {
        string message = Assert.Throws<OpenElmException>(() => ScoreLines.Read(File([.. Enumerable.Range(0, 9).Select(_ => "{")])).Of(Tasks)).Message;
        Assert.Contains("line 5", message);
        Assert.DoesNotContain("line 6", message);
        Assert.Contains("and 4 more", message);
    }

    [Theory]
    [InlineData("{\"task\": \"t\", \"doc_id\": 0, \"idx\": 0, \"logprob\": -1, \"is_greedy\": true}", "line 2 scores t document 0 request 0 again")]
    [InlineData("{\"task\": \"t\", \"doc_id\": 0, \"idx\": 1, \"logprob\": 1, \"is_greedy\": true}", "line 2 has the log-probability 1")]
    [InlineData("{\"task\": \"t\", \"doc_id\": 0, \"idx\": 1, \"logprob\": -1}", "is_greedy")]
    [InlineData("[]", "line 2 cannot be read")]
    [InlineData("null", "line 2 is no object")]
    public void A_wrong_line_is_told(string line, string reason) =>
        Assert.Contains(reason, Assert.Throws<OpenElmException>(() => ScoreLines.Read(File(Line(0, 0, -1), line))).Message);

    [Fact]
    public void A_missing_file_is_told() => Assert.Contains("no file of scores", Assert.Throws<OpenElmException>(() => ScoreLines.Read(_folder["none"])).Message);

    static string Line(int document, int index, double logprob) => $"{{\"task\": \"t\", \"doc_id\": {document}, \"idx\": {index}, \"logprob\": {logprob}, \"is_greedy\": false}}";

    string File(params string[] lines)
    {
        System.IO.File.WriteAllLines(_folder["scores.jsonl"], lines);
        return _folder["scores.jsonl"];
    }
}
