using System.Collections.Immutable;
using OpenElm.Configuration;
using OpenElm.Inference.Scoring;
using OpenElm.Scoring;
using OpenElm.Training.Scoring;
using TorchSharp;
using static TorchSharp.torch;

namespace OpenElm.Training.Tests.Scoring;

public sealed class TorchContinuationScorerTests
{
    [Theory]
    [InlineData(nameof(SmallModels.Layerwise), KernelChoice.Auto)]
    [InlineData(nameof(SmallModels.MultiQueryUntied), KernelChoice.Torch)]
    [InlineData(nameof(SmallModels.MultiHeadNoGlu), KernelChoice.Reference)]
    public void Scores_agree_with_one_sequence_at_a_time(string model, KernelChoice kernels)
    {
        using OpenElmModule module = SmallModels.Create(SmallModels.Named(model), new ModuleOptions { Kernels = kernels });
        ContinuationGroup[] groups = RandomGroups(60, seed: 5);
        var plain = new CausalLMContinuationScorer(new OneAtATime(module), null);
        ContinuationScore[][] expected = Run(plain, groups);
        Assert.Contains(expected.SelectMany(scores => scores), score => score.IsGreedy);
        int[] order = [.. Enumerable.Range(0, groups.Length)];
        foreach (int tokens in new[] { 1, 64, 1000, 8192 })
        {
            using var scorer = new TorchContinuationScorer(module, tokensAtATime: tokens);
            ContinuationScore[][] actual = Run(scorer, [.. order.Select(i => groups[i])]);
            for (int i = 0; i < order.Length; i++)
            {
                foreach ((ContinuationScore e, ContinuationScore a) in expected[order[i]].Zip(actual[i]))
                {
                    Assert.Equal(e.LogProbability, a.LogProbability, 1e-5 * Math.Abs(e.LogProbability)); // single precision: the order of sums differs
                    Assert.Equal(e.IsGreedy, a.IsGreedy);
                }
            }

            Assert.True(scorer.TokensComputed < plain.TokensComputed * 0.9, "single tokens share a context");
            new Random(tokens).Shuffle(order);
        }
    }

    [Fact]
    public void Long_and_short_sequences_do_not_share_a_batch()
    {
        using OpenElmModule module = SmallModels.Create(SmallModels.Layerwise, new ModuleOptions());
        using var scorer = new TorchContinuationScorer(module);
        Run(scorer, [.. Enumerable.Range(0, 440).Select(i => new ContinuationGroup([.. Enumerable.Repeat(i % 101, i % 11 == 0 ? 30 : 3)], [[1]]))]);
        const int Tokens = (40 * 30) + (400 * 3);
        Assert.InRange(scorer.TokensComputed, Tokens, Tokens * 8 / 7); // an eighth of a batch may be padding
    }

    [Fact]
    public void Ids_that_only_pad_have_no_probability()
    {
        using OpenElmModule module = SmallModels.Create(SmallModels.Layerwise, new ModuleOptions());
        double Total(TorchContinuationScorer scorer, int ids) => Run(scorer, [new([1, 2], [.. Enumerable.Range(0, ids).Select(id => ImmutableArray.Create(id))])])[0].Sum(score => Math.Exp(score.LogProbability));
        Assert.Equal(1, Total(new TorchContinuationScorer(module), 101), 1e-9);
        Assert.Equal(1, Total(new TorchContinuationScorer(module, candidates: 90), 90), 1e-9);
        Assert.Contains("the token id 90", Assert.Throws<OpenElmException>(() => Total(new TorchContinuationScorer(module, candidates: 90), 91)).Message);
    }

    [Fact]
    public void Wrong_numbers_are_listed()
    {
        using OpenElmModule module = SmallModels.Create(SmallModels.Layerwise, new ModuleOptions());
        string message = Assert.Throws<OpenElmException>(() => new TorchContinuationScorer(module, candidates: 102, maxLength: 1 << 20, tokensAtATime: 0)).Message;
        Assert.Contains("102 pieces", message);
        Assert.Contains("1048576 tokens", message);
        Assert.Contains("batches of 0", message);
        using var scorer = new TorchContinuationScorer(module);
        Assert.Contains("the limit is 32", Assert.Throws<OpenElmException>(() => Run(scorer, [new([.. new int[33]], [[1]])])).Message);
    }

    [Fact]
    public void Scores_agree_on_a_GPU()
    {
        if (!cuda.is_available())
        {
            Assert.Skip("There is no CUDA device.");
        }

        using OpenElmModule onCpu = SmallModels.Create(SmallModels.Layerwise, new ModuleOptions()), onGpu = new(SmallModels.Layerwise, new ModuleOptions { Device = "cuda" });
        foreach ((NamedWeight from, NamedWeight to) in onCpu.Weights.Zip(onGpu.Weights))
        {
            using var noGrad = no_grad();
            to.Value.copy_(from.Value);
        }

        ContinuationGroup[] groups = RandomGroups(40, seed: 6);
        foreach ((ContinuationScore[] e, ContinuationScore[] a) in Run(new TorchContinuationScorer(onCpu), groups).Zip(Run(new TorchContinuationScorer(onGpu), groups)))
        {
            Assert.All(e.Zip(a), pair => Assert.Equal(pair.First.LogProbability, pair.Second.LogProbability, 1e-5 * Math.Abs(pair.First.LogProbability)));
        }
    }

    /// <summary>The tensor model, one sequence at a time.</summary>
    sealed class OneAtATime(OpenElmModule module) : ICausalLM
    {
        public OpenElmConfig Config => module.Config;

        public void ComputeLogits(ReadOnlySpan<int> tokens, int firstPosition, Span<float> logits)
        {
            using var noGrad = no_grad();
            using DisposeScope scope = NewDisposeScope();
            Tensor all = module.call(tensor(tokens.ToArray().Select(id => (long)id).ToArray(), [1, tokens.Length])); // [1, seq, vocab]
            all.squeeze(0).narrow(0, firstPosition, tokens.Length - firstPosition).contiguous().data<float>().ToArray().CopyTo(logits);
        }
    }

    static ContinuationGroup[] RandomGroups(int count, int seed)
    {
        var random = new Random(seed);
        ContinuationGroup everyToken = new([7, 8], [.. Enumerable.Range(0, 101).Select(id => ImmutableArray.Create(id))]); // one of them is the likeliest
        return [everyToken, .. Enumerable.Range(1, count).Select(_ => new ContinuationGroup(
            Tokens(random.Next(1, 20)),
            [.. Enumerable.Range(0, random.Next(1, 5)).Select(_ => Tokens(random.Next(2) == 0 ? 1 : random.Next(1, 13)))]))];

        ImmutableArray<int> Tokens(int length) => [.. Enumerable.Range(0, length).Select(_ => random.Next(101))];
    }

    static ContinuationScore[][] Run(IContinuationScorer scorer, ContinuationGroup[] groups)
    {
        var scores = new ContinuationScore[groups.Length][];
        scorer.Score(groups, (i, values) => scores[i] = [.. values]);
        Assert.DoesNotContain(null, scores);
        return scores;
    }
}
