using System.Text.Json.Nodes;
using OpenElm.Inference.Scoring;

namespace OpenElm.Inference.Tests.Scoring;

/// <summary>The lines that <c>openelm score</c> and <c>openelm perplexity</c> read.</summary>
public sealed class LineTests : IDisposable
{
    readonly TextModel _model = TextModel.Load(TestModels.StoriesFolder);
    readonly TemporaryFolder _folder = new();

    public void Dispose()
    {
        _model.Dispose();
        _folder.Dispose();
    }

    [Theory]
    [InlineData("{\"id\": 1.50, \"tokens\": [1, 403, 407], \"label\": \"tïme\"}", "id,tokens,label", 2)]
    [InlineData("{\"text\": \"Once upon a time\", \"sum\": \"old\"}", "text", 4)]
    [InlineData("{\"context\": \"Once upon\", \"continuation\": \" a time\"}", "context,continuation", 2)]
    public void A_line_keeps_its_keys_and_gets_its_score(string line, string keys, int scored)
    {
        (JsonObject fields, Score score) = new JsonLineScorer(new Scorer(_model.Model, _model.Tokenizer)).ScoreLine(line);
        JsonObject before = JsonNode.Parse(line)!.AsObject();
        foreach (string key in keys.Split(','))
        {
            Assert.Equal(before[key]!.ToJsonString(), fields[key]!.ToJsonString());
        }

        JsonObject after = JsonNode.Parse(JsonLineScorer.Write(fields))!.AsObject();
        Assert.Equal(scored, after["logprobs"]!.AsArray().Count);
        Assert.Equal(score.LogProbabilities, after["logprobs"]!.AsArray().Select(value => value!.GetValue<double>()));
        Assert.Equal(score.Sum, after["sum"]!.GetValue<double>());
        Assert.Equal(score.IsGreedy, after["is_greedy"]!.GetValue<bool>());
        Assert.DoesNotContain("\\u", JsonLineScorer.Write(fields));
    }

    [Theory]
    [InlineData("", "not valid JSON")]
    [InlineData("[1]", "no JSON object")]
    [InlineData("{\"tokens\": [1, 2], \"text\": \"x\"}", "either")]
    [InlineData("{\"context\": \"x\"}", "either")]
    [InlineData("{\"text\": 5}", "must be a string")]
    [InlineData("{\"tokens\": [1, 2.5]}", "2.5")]
    [InlineData("{\"tokens\": [1, null]}", "null")]
    [InlineData("{\"tokens\": 1}", "list of ids")]
    [InlineData("{\"tokens\": [1, 512]}", "512")]
    public void A_wrong_line_says_why(string line, string message) =>
        Assert.Contains(message, Assert.Throws<OpenElmException>(() => new JsonLineScorer(new Scorer(_model.Model, _model.Tokenizer)).ScoreLine(line)).Message);

    [Fact]
    public void Perplexity_of_lines_is_that_of_their_sums()
    {
        var meter = new PerplexityMeter(_model.Model, _model.Tokenizer);
        File.WriteAllText(_folder["two.jsonl"], "{\"text\": \"Once upon a time\"}\n{\"text\": \"there was\"}\n");
        File.WriteAllText(_folder["one.txt"], "Once upon a time");
        (Perplexity two, int texts) = PerplexityLines.Measure(_folder["two.jsonl"], meter);
        Assert.Equal(2, texts);
        Assert.Equal(meter.MeasureText("Once upon a time") + meter.MeasureText("there was"), two);
        Assert.Equal((meter.MeasureText("Once upon a time"), 1), PerplexityLines.Measure(_folder["one.txt"], meter));
        File.WriteAllText(_folder["ids.jsonl"], "{\"tokens\": [403, 407]}\n");
        Assert.Equal(meter.MeasureTokens([403, 407]), PerplexityLines.Measure(_folder["ids.jsonl"], meter).Total);
    }

    [Theory]
    [InlineData("{\"text\": \"a\"}\n{\"no\": 1}\n", "line 2: The line must hold")]
    [InlineData("{\"text\": \"a\"}\nnonsense\n", "line 2: The line is not valid JSON")]
    [InlineData("", "is empty")]
    public void A_wrong_file_says_where(string content, string message)
    {
        File.WriteAllText(_folder["wrong.jsonl"], content);
        var meter = new PerplexityMeter(_model.Model, _model.Tokenizer);
        Assert.Contains(message, Assert.Throws<OpenElmException>(() => PerplexityLines.Measure(_folder["wrong.jsonl"], meter)).Message);
        Assert.Contains("no file", Assert.Throws<OpenElmException>(() => PerplexityLines.Measure(_folder["missing"], meter)).Message);
    }
}
