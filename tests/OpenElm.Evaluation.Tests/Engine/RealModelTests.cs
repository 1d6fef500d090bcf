using OpenElm.Checkpoints;
using OpenElm.Evaluation.Engine;
using OpenElm.Evaluation.Tasks;
using OpenElm.Inference;
using OpenElm.Inference.Scoring;
using OpenElm.Scoring;

namespace OpenElm.Evaluation.Tests.Engine;

/// <summary>stories260K from text to scores, against scoring one request at a time.</summary>
public sealed class RealModelTests : IDisposable
{
    readonly TextModel _text = TextModel.Load(Path.Combine(RepositoryFiles.Root, "samples", "stories260k"));

    [Theory]
    [InlineData(null)]
    [InlineData(1)]
    [InlineData(5)]
    public void Continuations_have_the_bits_of_one_request_at_a_time(int? batchSize)
    {
        EvaluationRequest[] requests = [.. Requests()];
        var tokenizer = new RequestTokenizer(_text.Tokenizer!, 512);
        using var scorer = new CpuContinuationScorer(_text.Model, _text.Tokenizer);
        EngineResult result = EvaluationEngine.Run([.. requests.Select(request => tokenizer.Encode(request, RequestKind.Continuation))], scorer, new EngineOptions { BatchSize = batchSize });
        var one = new Scorer(_text.Model, _text.Tokenizer);
        for (int i = 0; i < requests.Length; i++)
        {
            Score expected = one.ScoreContinuation(requests[i].Context, requests[i].Continuation);
            Assert.Equal(new ContinuationScore(expected.Sum, expected.IsGreedy), result.Scores[i]);
        }

        Assert.True(result.Counts.Saved > 0.6, $"{result.Counts}");
        Assert.True(result.Counts.Recomputed < 0.35, $"{result.Counts}");
    }

    [Fact]
    public void Whole_texts_are_scored_in_windows()
    {
        string text = string.Concat(Enumerable.Range(0, 60).Select(i => $"Once upon a time there were {i} little dogs. "));
        var tokenizer = new RequestTokenizer(_text.Tokenizer!, 100);
        TokenizedRequest request = tokenizer.Encode(new("", text), RequestKind.WholeText);
        Assert.True(request.Windows.Length > 5);
        using var scorer = new CpuContinuationScorer(_text.Model, _text.Tokenizer, 100);
        double expected = request.Windows.Sum(window => new Scorer(_text.Model, _text.Tokenizer).ScoreFrom([.. window.Context, .. window.Continuation], window.Context.Length).Sum);
        Assert.Equal(expected, EvaluationEngine.Run([request], scorer).Scores[0].LogProbability);
    }

    [Fact]
    public void Fingerprints_tell_models_and_runtimes_apart()
    {
        using var folder = new TemporaryFolder();
        using var stories = Checkpoint.Open(Path.Combine(RepositoryFiles.Root, "samples", "stories260k"));
        string hash = ModelFingerprint.Of(stories, 512, ModelFingerprint.RuntimeOf(_text.Model));
        Assert.Matches("^[0-9a-f]{32}$", hash);
        Assert.Equal(hash, ModelFingerprint.Of(stories, 512, ModelFingerprint.RuntimeOf(_text.Model)));
        Assert.NotEqual(hash, ModelFingerprint.Of(stories, 511, ModelFingerprint.RuntimeOf(_text.Model)));
        Assert.NotEqual(hash, ModelFingerprint.Of(stories, 512, "torch cpu fp32"));

        // One bit of one weight.
        Directory.CreateDirectory(folder["copy"]);
        foreach (string path in Directory.GetFiles(stories.Path))
        {
            File.Copy(path, Path.Combine(folder["copy"], Path.GetFileName(path)));
        }

        string weights = Path.Combine(folder["copy"], "model.safetensors");
        byte[] bytes = File.ReadAllBytes(weights);
        using (var same = Checkpoint.Open(folder["copy"]))
        {
            Assert.Equal(hash, ModelFingerprint.Of(same, 512, ModelFingerprint.RuntimeOf(_text.Model)));
        }

        bytes[^3] ^= 1;
        File.WriteAllBytes(weights, bytes);
        using var changed = Checkpoint.Open(folder["copy"]);
        Assert.NotEqual(hash, ModelFingerprint.Of(changed, 512, ModelFingerprint.RuntimeOf(_text.Model)));
    }

    public void Dispose() => _text.Dispose();

    // ARC's form with solved examples, letters as answers, and an empty context.
    static IEnumerable<EvaluationRequest> Requests()
    {
        string examples = string.Concat(Enumerable.Range(0, 3).Select(i => $"Question: What did dog {i} see?\nAnswer: A big tree\n\n"));
        for (int i = 0; i < 12; i++)
        {
            string question = $"{examples}Question: What did the cat number {i} find in the park?\nAnswer:";
            foreach (string choice in new[] { "a red ball", "the sun", "nothing", "a dog that was sad" })
            {
                yield return new(question, " " + choice);
            }

            foreach (string letter in new[] { "A", "B", "C", "D" })
            {
                yield return new($"{examples}Pick one, child {i}.\nAnswer:", " " + letter);
            }
        }

        yield return new("", "The sun was warm.");
        yield return new("", "The sun was cold.");
    }
}
