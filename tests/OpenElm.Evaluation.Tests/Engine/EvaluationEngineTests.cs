using System.Collections.Immutable;
using OpenElm.Evaluation.Engine;
using OpenElm.Scoring;

namespace OpenElm.Evaluation.Tests.Engine;

public sealed class EvaluationEngineTests
{
    [Theory]
    [InlineData(null)]
    [InlineData(1)]
    [InlineData(7)]
    [InlineData(64)]
    public void Scores_come_in_the_order_of_the_requests(int? batchSize)
    {
        TokenizedRequest[] requests = RandomRequests(300, seed: 1);
        var scorer = new FakeScorer();
        EngineResult result = EvaluationEngine.Run(requests, scorer, new EngineOptions { BatchSize = batchSize });
        Assert.Equal(requests.Select(Expected), result.Scores);
        Assert.Equal(requests.Length, result.Counts.Requests);
        Assert.All(scorer.CallSizes, size => Assert.InRange(size, 1, batchSize ?? int.MaxValue));
        Assert.True(batchSize is null ? scorer.CallSizes.Count == 1 : scorer.CallSizes.Count > 1);
    }

    [Fact]
    public void Each_window_is_asked_once_and_each_context_once()
    {
        TokenizedRequest[] requests = RandomRequests(300, seed: 2);
        var scorer = new FakeScorer();
        EvaluationEngine.Run(requests, scorer);
        string[] asked = [.. scorer.Asked.SelectMany(group => group.Continuations.Select(tokens => Text(group.Context) + "|" + Text(tokens)))];
        string[] wanted = [.. requests.SelectMany(request => request.Windows).Select(window => Text(window.Context) + "|" + Text(window.Continuation))];
        Assert.True(wanted.Length > asked.Length, "some are equal");
        Assert.Equal(wanted.Distinct().Order(StringComparer.Ordinal), asked.Order(StringComparer.Ordinal));
        Assert.Equal(scorer.Asked.Count, scorer.Asked.Select(group => Text(group.Context)).Distinct().Count());

        static string Text(ImmutableArray<int> tokens) => string.Join(',', tokens);
    }

    [Fact]
    public void Neighbours_share_beginnings_and_the_counts_say_how_much()
    {
        TokenizedRequest[] requests = [
            Request([1, 2, 3, 4], [9, 9]), Request([7], [1]), Request([1, 2, 3, 5], [8]), Request([1, 2, 3, 4], [9, 8, 7]), Request([7], [1])];
        var scorer = new FakeScorer();
        var heard = new Heard();
        EngineResult result = EvaluationEngine.Run(requests, scorer, new EngineOptions { BatchSize = 1, Progress = heard });
        Assert.Equal(["1,2,3,4", "1,2,3,5", "7"], scorer.Asked.Select(group => string.Join(',', group.Context)));
        // Alone: 5 + 1 + 4 + 6 + 1. Distinct: 1 2 3 4, then 9, then 8 behind 9; 5; 7.
        Assert.Equal(new EngineCounts(5, 0, 17, 4 + 1 + 1 + 1 + 1, scorer.TokensComputed), result.Counts);
        Assert.Equal(4 + 3 + 4 + 1, scorer.TokensComputed); // the fake shares contexts only
        Assert.Equal(1 - (8 / 12.0), result.Counts.Recomputed, 1e-12);
        Assert.Equal(1 - (12 / 17.0), result.Counts.Saved, 1e-12);
        Assert.Equal([0, 6, 7, 8], heard.Reports.Select(report => report.Done));
        Assert.All(heard.Reports, report => Assert.Equal(8, report.Total));
    }

    [Fact]
    public void Time_left_follows_from_the_pace()
    {
        Assert.Equal(TimeSpan.FromSeconds(30), new EngineProgress(250, 1000, TimeSpan.FromSeconds(10)).Left);
        Assert.Null(new EngineProgress(0, 1000, TimeSpan.FromSeconds(10)).Left);
    }

    [Fact]
    public void A_context_with_very_many_continuations_is_asked_in_pieces()
    {
        TokenizedRequest[] requests = [.. Enumerable.Range(0, 500).Select(i => Request([2], [1, i, i + 1]))];
        var scorer = new FakeScorer();
        Assert.Equal(requests.Select(Expected), EvaluationEngine.Run(requests, scorer).Scores);
        Assert.True(scorer.Asked.Count > 5);
    }

    [Fact]
    public void A_killed_evaluation_goes_on_and_a_repeated_one_asks_nothing()
    {
        using var folder = new TemporaryFolder();
        TokenizedRequest[] requests = RandomRequests(300, seed: 3);
        int groups;
        using (var cache = AnswerCache.Open(folder["answers"], "m"))
        {
            var all = new FakeScorer();
            EvaluationEngine.Run(requests, all);
            groups = all.Asked.Count;
            Assert.Throws<IOException>(() => EvaluationEngine.Run(requests, new FakeScorer { FailAfter = groups / 3 }, new EngineOptions { Cache = cache }));
        }

        using (var cache = AnswerCache.Open(folder["answers"], "m", warning => Assert.Fail(warning)))
        {
            var rest = new FakeScorer();
            EngineResult result = EvaluationEngine.Run(requests, rest, new EngineOptions { Cache = cache });
            Assert.Equal(requests.Select(Expected), result.Scores); // the same bits from disk
            Assert.Equal(groups - (groups / 3), rest.Asked.Count);
            Assert.True(result.Counts.Cached > 0);
        }

        using (var cache = AnswerCache.Open(folder["answers"], "m", warning => Assert.Fail(warning)))
        {
            var nothing = new FakeScorer();
            EngineResult result = EvaluationEngine.Run(requests, nothing, new EngineOptions { Cache = cache });
            Assert.Equal(requests.Select(Expected), result.Scores);
            Assert.Empty(nothing.Asked);
            Assert.Equal((0, 0, 1.0), (result.Counts.TokensComputed, result.Counts.Recomputed, result.Counts.Saved));
        }
    }

    [Fact]
    public void Stopping_keeps_what_is_done()
    {
        using var folder = new TemporaryFolder();
        using var cache = AnswerCache.Open(folder["answers"], "m");
        using var stop = new CancellationTokenSource();
        stop.Cancel();
        Assert.Throws<OperationCanceledException>(() => EvaluationEngine.Run(RandomRequests(10, 1), new FakeScorer(), new EngineOptions { Cache = cache }, stop.Token));
        Assert.Empty(EvaluationEngine.Run([], new FakeScorer()).Scores);
        Assert.Contains("batch size is 0", Assert.Throws<OpenElmException>(() => EvaluationEngine.Run([], new FakeScorer(), new EngineOptions { BatchSize = 0 })).Message);
    }

    static TokenizedRequest Request(ImmutableArray<int> context, ImmutableArray<int> continuation) => new([new TokenWindow(context, continuation)]);

    static ContinuationScore Expected(TokenizedRequest request) => new(
        request.Windows.Select(window => FakeScorer.ScoreOf(window).LogProbability).Sum(), request.Windows.All(window => FakeScorer.ScoreOf(window).IsGreedy));

    // Few different tokens, so that contexts and whole requests are equal now and then; some have several windows.
    static TokenizedRequest[] RandomRequests(int count, int seed)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(_ => new TokenizedRequest([.. Enumerable.Range(0, random.Next(5) == 0 ? 3 : 1).Select(_ => new TokenWindow(Tokens(1, 5), Tokens(1, 4)))]))];

        ImmutableArray<int> Tokens(int least, int most) => [.. Enumerable.Range(0, random.Next(least, most + 1)).Select(_ => random.Next(3))];
    }
}
