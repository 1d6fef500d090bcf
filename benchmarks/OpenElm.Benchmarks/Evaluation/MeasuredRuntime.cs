using OpenElm.Evaluation.Engine;
using OpenElm.Inference;
using OpenElm.Inference.Scoring;
using OpenElm.Scoring;
using OpenElm.Tokenization;
using OpenElm.Training;
using OpenElm.Training.Scoring;
using OpenElm.Training.Torch;
using static TorchSharp.torch;

namespace OpenElm.Benchmarks.Evaluation;

/// <summary>A runtime, with its engine and its way of scoring one request at a time.</summary>
/// <param name="Name">For the table.</param>
/// <param name="Engine">Makes a scorer that remembers nothing.</param>
/// <param name="One">Scores one request alone.</param>
/// <param name="Tolerance">Relative; 0 asks for the same bits.</param>
/// <param name="Owned">What to dispose.</param>
internal sealed record MeasuredRuntime(string Name, Func<IContinuationScorer> Engine, Func<TokenWindow, ContinuationScore> One, double Tolerance, IDisposable? Owned = null) : IDisposable
{
    /// <summary>The CPU runtime; a request alone is two passes over a new state, as <c>openelm score</c> does it.</summary>
    public static MeasuredRuntime Inference(TextModel text, SentencePieceTokenizer tokenizer)
    {
        var scorer = new Scorer(text.Model, tokenizer);
        return new MeasuredRuntime($"kernels {text.Model.KernelName}", () => new CpuContinuationScorer(text.Model, tokenizer), One, 0);

        ContinuationScore One(TokenWindow window)
        {
            Score score = scorer.ScoreFrom([.. window.Context, .. window.Continuation], window.Context.Length);
            return new ContinuationScore(score.Sum, score.IsGreedy);
        }
    }

    /// <summary>TorchSharp on the CPU in fp32, with random weights of a model's shape; a request alone is a batch of one sequence.</summary>
    public static MeasuredRuntime Training(TextModel text, SentencePieceTokenizer tokenizer, int threads)
    {
        TorchLibrary.EnsureLoaded();
        set_num_threads(threads);
        var module = new OpenElmModule(text.Model.Config);
        module.Initialize(1);
        return new MeasuredRuntime("training runtime", Create, One, 1e-5, module);

        TorchContinuationScorer Create() => new(module, tokenizer.PieceCount);

        ContinuationScore One(TokenWindow window)
        {
            ContinuationScore found = default;
            using TorchContinuationScorer scorer = Create();
            scorer.Score([new ContinuationGroup(window.Context, [window.Continuation])], (_, scores) => found = scores[0]);
            return found;
        }
    }

    /// <summary>Whether two scores agree as the runtime promises.</summary>
    public bool AreSame(ContinuationScore a, ContinuationScore b) =>
        Math.Abs(a.LogProbability - b.LogProbability) <= Tolerance * Math.Abs(b.LogProbability) && a.IsGreedy == b.IsGreedy;

    public void Dispose() => Owned?.Dispose();
}
