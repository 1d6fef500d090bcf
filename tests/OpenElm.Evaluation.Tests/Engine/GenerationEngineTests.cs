using OpenElm.Evaluation.Engine;
using OpenElm.Evaluation.Tasks;
using OpenElm.Evaluation.Tests.Metrics;
using OpenElm.Inference;
using OpenElm.Inference.Scoring;

namespace OpenElm.Evaluation.Tests.Engine;

/// <summary>stories260K writes.</summary>
public sealed class GenerationEngineTests : IDisposable
{
    static readonly GenerationSettings Settings = new() { Beams = 2, MaxTokens = 8 };

    readonly TemporaryFolder _folder = new();
    readonly TextModel _model = TextModel.Load(Path.Combine(RepositoryFiles.Root, "samples", "stories260k"));

    [Fact]
    public void A_stopped_run_goes_on_with_the_texts_it_has()
    {
        GenerationRequest[] requests = [.. new[] { "Once upon a time", "Lily saw a big", "The dog ran" }.Select(prompt => Tokenizer().Encode(prompt, Settings))];
        GenerationResult whole = GenerationEngine.Run(requests, _model, new EngineOptions(), TestContext.Current.CancellationToken);
        Assert.Equal((0, 24L), (whole.Cached, whole.TokensWritten));

        using var stop = new CancellationTokenSource();
        using (var cache = AnswerCache.Open(_folder["answers"], "model"))
        {
            var options = new EngineOptions { Cache = cache, Progress = new StopAt(1, stop) };
            Assert.Throws<OperationCanceledException>(() => GenerationEngine.Run(requests, _model, options, stop.Token));
        }

        using var known = AnswerCache.Open(_folder["answers"], "model", warning => Assert.Fail(warning));
        var heard = new Heard();
        GenerationResult rest = GenerationEngine.Run(requests, _model, new EngineOptions { Cache = known, Progress = heard }, TestContext.Current.CancellationToken);
        Assert.Equal((1, 16L), (rest.Cached, rest.TokensWritten));
        Assert.Equal(whole.Texts, rest.Texts);
        Assert.Equal([(0, 2, "texts"), (1, 2, "texts"), (2, 2, "texts")], heard.Reports.Select(report => ((int)report.Done, (int)report.Total, report.Unit)));
    }

    [Fact]
    public void A_long_prompt_loses_its_beginning_so_that_the_answer_has_room()
    {
        string prompt = string.Concat(Enumerable.Repeat("Lily saw a big dog. ", 60));
        int[] all = _model.EncodePrompt(prompt);
        GenerationRequest request = Tokenizer(100).Encode(prompt, Settings), whole = Tokenizer().Encode("Lily", Settings);
        Assert.Equal(all[^92..], request.Prompt);
        Assert.Equal((true, false), (request.IsTruncated, whole.IsTruncated));
        Assert.Equal(_model.EncodePrompt("Lily"), whole.Prompt);
        Assert.Contains("leaves no room for the question", Assert.Throws<OpenElmException>(() => Tokenizer(8).Encode("Lily", Settings)).Message);
    }

    [Fact]
    public void A_runtime_that_cannot_write_says_so()
    {
        var task = new FakeTask("essay", ["acc"], [new EvaluationItem { DocumentId = 0, Requests = [new("Lily", "")], Expected = new("x", "x") }]) { Kind = RequestKind.Generation };
        using var scorer = new CpuContinuationScorer(_model.Model, _model.Tokenizer);
        PreparedTask[] tasks = [new(task, 0, task.Documents)];
        Assert.Contains("essay has the model write its answers", Assert.Throws<OpenElmException>(() => EvaluationRun.Score(tasks, Tokenizer(), scorer, new EngineOptions())).Message);
    }

    public void Dispose()
    {
        _model.Dispose();
        _folder.Dispose();
    }

    RequestTokenizer Tokenizer(int maxLength = 512) => new(_model.Tokenizer!, maxLength);

    sealed class StopAt(int done, CancellationTokenSource stop) : IProgress<EngineProgress>
    {
        public void Report(EngineProgress value)
        {
            if (value.Done == done)
            {
                stop.Cancel();
            }
        }
    }
}
