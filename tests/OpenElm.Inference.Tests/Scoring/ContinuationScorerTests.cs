using System.Collections.Immutable;
using OpenElm.Inference.Scoring;
using OpenElm.Scoring;

namespace OpenElm.Inference.Tests.Scoring;

public sealed class ContinuationScorerTests(PaddedModel padded) : IClassFixture<PaddedModel>
{
    const long Plenty = 256L << 20;

    [Fact]
    public void Scores_are_those_of_one_request_at_a_time()
    {
        (TextModel text, string[] contexts) = (padded.Text, ["Question: why?\nAnswer:", "Question: why not?\nAnswer:", "The cat", ""]);
        var scorer = new Scorer(text.Model, text.Tokenizer);
        string[] continuations = [" because", " because it is so, and was", " A", " no idea"];
        ImmutableArray<ContinuationGroup> groups = [.. contexts.Select(context => new ContinuationGroup(
            [.. Tokens(context, " A", 0)],
            [.. continuations.Select(continuation => Tokens(context, continuation, 1).ToImmutableArray())]))];
        using var cpu = new CpuContinuationScorer(text.Model, text.Tokenizer);
        ContinuationScore[][] actual = Run(cpu, groups);
        for (int g = 0; g < contexts.Length; g++)
        {
            for (int c = 0; c < continuations.Length; c++)
            {
                Score expected = scorer.ScoreContinuation(contexts[g], continuations[c]);
                Assert.Equal(new ContinuationScore(expected.Sum, expected.IsGreedy), actual[g][c]); // the same bits
            }
        }

        int[] Tokens(string context, string continuation, int part)
        {
            (int[] tokens, int start) = scorer.Split(context, continuation);
            return part == 0 ? tokens[..start] : tokens[start..];
        }
    }

    [Theory]
    [InlineData(KvCacheType.F32, 1)]
    [InlineData(KvCacheType.F32, 2)]
    [InlineData(KvCacheType.BF16, 2)]
    [InlineData(KvCacheType.I8, 2)]
    public void The_bits_depend_on_neither_order_nor_company(KvCacheType cache, int threads)
    {
        using OpenElmModel model = TestModels.Random(TestModels.Layerwise, new InferenceOptions { KvCache = cache, Threads = threads });
        ContinuationGroup[] groups = [.. RandomGroups(90, seed: 8).Select((group, i) => i % 5 == 0 ? group with { Continuations = [.. group.Continuations, Likeliest(model, group.Context)] } : group)];
        var plain = new CausalLMContinuationScorer(model, null);
        ContinuationScore[][] expected = Run(plain, groups);
        Assert.Contains(expected.SelectMany(scores => scores), score => score.IsGreedy);
        var random = new Random(4);
        foreach ((int size, int rows, long bytes) in new[] { (1, 512, Plenty), (2, 512, Plenty), (7, 16, Plenty), (64, 512, Plenty), (64, 33, 100_000), (90, 512, 1), (90, 1, Plenty) })
        {
            foreach (bool sorted in new[] { true, false })
            {
                int[] order = [.. Enumerable.Range(0, groups.Length)];
                if (!sorted)
                {
                    random.Shuffle(order);
                }

                using var cpu = new CpuContinuationScorer(model, null, null, rows, bytes);
                var actual = new ContinuationScore[groups.Length][];
                foreach (int[] chunk in order.Chunk(size))
                {
                    int called = 0;
                    cpu.Score([.. chunk.Select(i => groups[i])], (i, scores) => (actual[chunk[i]], called) = ([.. scores], called + 1));
                    Assert.Equal(chunk.Length, called);
                }

                Assert.Equal(expected, actual);
                Assert.True(cpu.TokensComputed < plain.TokensComputed * 0.8, "work is shared");
            }
        }
    }

    [Fact]
    public void A_beginning_that_contexts_share_is_computed_once()
    {
        using OpenElmModel model = TestModels.Random(TestModels.Layerwise);
        int[] examples = TestModels.Tokens(100, 131);
        ContinuationGroup[] groups = [.. Enumerable.Range(0, 40).Select(i => new ContinuationGroup([.. examples, i, 5, 9, 1], [[1], [2], [3], [4]]))];
        using var cpu = new CpuContinuationScorer(model, null, null, 64, Plenty);
        Run(cpu, groups);
        Assert.Equal(100 + (40 * 4), cpu.TokensComputed); // single tokens need no pass of their own
        Run(cpu, [.. groups.Reverse()]);
        Assert.Equal(100 + (40 * 4) + 1 + (39 * 4), cpu.TokensComputed); // the last context of the first call is still there, all but one token
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Contexts_of_one_pass_share_beginnings_among_each_other(bool shuffled)
    {
        using OpenElmModel model = TestModels.Random(TestModels.Layerwise);
        int[] root = TestModels.Tokens(10, 131, seed: 1);
        ContinuationGroup[] groups = [.. from branch in Enumerable.Range(0, 3)
                                         from twig in Enumerable.Range(0, 3)
                                         from leaf in Enumerable.Range(0, 3)
                                         select new ContinuationGroup(
                                             [.. root, branch, .. TestModels.Tokens(19, 131, seed: branch), twig, .. TestModels.Tokens(14, 131, seed: twig), leaf, 5, 9, 1], [[leaf]])];
        if (shuffled)
        {
            new Random(3).Shuffle(groups);
        }

        using var cpu = new CpuContinuationScorer(model, null);
        Assert.Equal(Run(new CausalLMContinuationScorer(model, null), groups), Run(cpu, groups));
        Assert.Equal(10 + (3 * 20) + (9 * 15) + (27 * 4), cpu.TokensComputed);
    }

    [Fact]
    public void Many_continuations_of_one_context_share_passes()
    {
        using OpenElmModel model = TestModels.Random(TestModels.Layerwise);
        var random = new Random(2);
        var group = new ContinuationGroup([2], [.. Enumerable.Range(0, 200).Select(i => TestModels.Tokens(random.Next(1, 30), 131, seed: i).ToImmutableArray())]);
        ContinuationScore[][] expected = Run(new CausalLMContinuationScorer(model, null), [group]);
        foreach ((int rows, long bytes) in new[] { (512, Plenty), (64, 200_000), (64, 1) })
        {
            using var cpu = new CpuContinuationScorer(model, null, null, rows, bytes);
            Assert.Equal(expected, Run(cpu, [group]));
            Assert.Equal(1 + group.Continuations.Sum(tokens => tokens.Length - 1), cpu.TokensComputed);
        }
    }

    [Fact]
    public void The_longest_requests_fit_and_longer_ones_are_named()
    {
        using OpenElmModel model = TestModels.Random(TestModels.Layerwise);
        using var cpu = new CpuContinuationScorer(model, null, null, 64, Plenty);
        Assert.Equal(200, cpu.MaxLength); // max_context_length
        var longest = new ContinuationGroup([1], [[.. TestModels.Tokens(200, 131)]]);
        Assert.Equal(Run(new CausalLMContinuationScorer(model, null), [longest]), Run(cpu, [longest]));
        string message = Assert.Throws<OpenElmException>(() => Run(cpu, [
            longest, new([1, 2], longest.Continuations), new([131], [[1]]), new([1], [[1], [-1]]), new([], [[1]]), new([1], []), new([1], [[1], []])])).Message;
        Assert.Contains("group 1 needs 201 tokens; the limit is 200", message);
        Assert.Contains("group 2 has the token id 131; ids go from 0 to 130", message);
        Assert.Contains("group 3 has the token id -1", message);
        Assert.Contains("group 4 has no context", message);
        Assert.Contains("group 5 has a continuation without tokens, or none", message);
        Assert.Contains("group 6 has a continuation without tokens", message);
        Assert.DoesNotContain("group 0", message);
        Assert.Contains("the limit is 1 to 400", Assert.Throws<OpenElmException>(() => new CpuContinuationScorer(model, null, 401)).Message);
    }

    [Fact]
    public void Stopping_leaves_a_scorer_that_works()
    {
        using OpenElmModel model = TestModels.Random(TestModels.Layerwise);
        ContinuationGroup[] groups = RandomGroups(60, seed: 3);
        using var cpu = new CpuContinuationScorer(model, null, null, 16, 1 << 20);
        using var stop = new CancellationTokenSource();
        int done = 0;
        Assert.Throws<OperationCanceledException>(() => cpu.Score(groups, (_, _) =>
        {
            if (++done == 20)
            {
                stop.Cancel();
            }
        }, stop.Token));
        Assert.InRange(done, 20, 59);
        Assert.Equal(Run(new CausalLMContinuationScorer(model, null), groups), Run(cpu, groups));
    }

    [Fact]
    public void Logits_that_are_no_numbers_are_refused()
    {
        Dictionary<string, ReadOnlyMemory<float>> weights = TestModels.Weights(Checkpoints.RandomModel.Create(TestModels.Layerwise, 1));
        weights["norm.weight"] = Enumerable.Repeat(float.NaN, 72).ToArray();
        using var model = OpenElmModel.Create(TestModels.Layerwise, weights);
        using var cpu = new CpuContinuationScorer(model, null);
        Assert.Contains("no numbers", Assert.Throws<OpenElmException>(() => Run(cpu, [new([1, 2], [[3, 4, 5, 6, 7, 8], [1]])])).Message);
        Assert.Contains("no numbers", Assert.Throws<OpenElmException>(() => Run(new CausalLMContinuationScorer(model, null), [new([1, 2], [[3]])])).Message);
    }

    // Contexts that share beginnings, of 1 to 150 tokens, with 1 to 4 continuations of 1 to 40; sorted as evaluation does.
    static ContinuationGroup[] RandomGroups(int count, int seed)
    {
        var random = new Random(seed);
        int[] examples = TestModels.Tokens(120, 131);
        return [.. Enumerable.Range(0, count)
            .Select(_ => new ContinuationGroup(
                [.. examples.Take(random.Next(121)), .. Tokens(random.Next(1, 30))],
                [.. Enumerable.Range(0, random.Next(1, 5)).Select(_ => Tokens(random.Next(3) == 0 ? 1 : random.Next(1, 41)).ToImmutableArray())]))
            .OrderBy(group => string.Concat(group.Context.Select(id => (char)id)), StringComparer.Ordinal)];

        int[] Tokens(int length) => [.. Enumerable.Range(0, length).Select(_ => random.Next(131))];
    }

    static ImmutableArray<int> Likeliest(OpenElmModel model, ImmutableArray<int> context)
    {
        using SequenceState state = model.CreateState();
        float[] logits = new float[model.Config.VocabSize];
        model.Prefill(context.AsSpan(), state, logits);
        int first = Array.IndexOf(logits, logits.Max());
        model.Decode(first, state, logits);
        return [first, Array.IndexOf(logits, logits.Max())];
    }

    static ContinuationScore[][] Run(IContinuationScorer scorer, IReadOnlyList<ContinuationGroup> groups)
    {
        var scores = new ContinuationScore[groups.Count][];
        scorer.Score(groups, (i, values) => scores[i] = [.. values]);
        return scores;
    }
}
