using System.Collections.Immutable;
using OpenElm.Distributed;
using OpenElm.Scoring;

namespace OpenElm.Evaluation.Engine;

/// <summary>Asks a model for the log-probabilities of any number of requests, each once, in an order that lets it share work.</summary>
public static class EvaluationEngine
{
    /// <summary>Scores requests.</summary>
    /// <param name="requests">The requests; those of several tasks together share most.</param>
    /// <param name="scorer">The model.</param>
    /// <param name="options">How; null takes the defaults.</param>
    /// <param name="cancellation">Stops between two passes; what is done is in the cache.</param>
    /// <returns>Scores in the order of the requests, and what they cost.</returns>
    /// <exception cref="OpenElmException">A request cannot be scored, or the batch size is impossible.</exception>
    public static EngineResult Run(IReadOnlyList<TokenizedRequest> requests, IContinuationScorer scorer, EngineOptions? options = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(requests);
        ArgumentNullException.ThrowIfNull(scorer);
        options ??= new EngineOptions();
        if (options.BatchSize is < 1)
        {
            throw new OpenElmException($"The batch size is {options.BatchSize}; it must be 1 or more.");
        }

        (List<TokenWindow> windows, int[][] windowsOf) = Distinct(requests);
        var answers = new ContinuationScore?[windows.Count];
        if (options.Cache is { } cache)
        {
            Recall(windows, cache, answers);
        }

        options.Group?.Share(answers);
        int cached = answers.Count(answer => answer is not null);
        var plan = ScoringPlan.Of(windows, Enumerable.Range(0, windows.Count).Where(i => answers[i] is null));
        long before = scorer.TokensComputed;
        Compute(options.Group is { } group ? plan.PartOf(group.Rank, group.Size) : plan, scorer, options, answers, windows, cancellation);
        options.Group?.Share(answers);
        long computed = scorer.TokensComputed - before;
        long asked = requests.Sum(request => request.Windows.Sum(window => (long)window.TokensFed));
        return new EngineResult(
            [.. windowsOf.Select(indices => Total(indices, answers))],
            new EngineCounts(requests.Count, cached, asked, plan.DistinctTokens.Sum(), options.Group?.Sum(computed)[0] ?? computed));
    }

    // Equal windows are one; [requests][windows] says which.
    static (List<TokenWindow> Windows, int[][] WindowsOf) Distinct(IReadOnlyList<TokenizedRequest> requests)
    {
        var windows = new List<TokenWindow>();
        var known = new Dictionary<ImmutableArray<int>, Dictionary<ImmutableArray<int>, int>>(TokenSequences.Comparer);
        int[][] windowsOf = new int[requests.Count][];
        for (int i = 0; i < requests.Count; i++)
        {
            windowsOf[i] = [.. requests[i].Windows.Select(Number)];
        }

        return (windows, windowsOf);

        int Number(TokenWindow window)
        {
            if (!known.TryGetValue(window.Context, out Dictionary<ImmutableArray<int>, int>? continuations))
            {
                known.Add(window.Context, continuations = new(TokenSequences.Comparer));
            }

            if (!continuations.TryGetValue(window.Continuation, out int number))
            {
                continuations.Add(window.Continuation, number = windows.Count);
                windows.Add(window);
            }

            return number;
        }
    }

    static void Recall(List<TokenWindow> windows, AnswerCache cache, ContinuationScore?[] answers)
    {
        for (int i = 0; i < windows.Count; i++)
        {
            if (cache.TryGet(windows[i], out ContinuationScore score))
            {
                answers[i] = score;
            }
        }
    }

    static void Compute(ScoringPlan plan, IContinuationScorer scorer, EngineOptions options, ContinuationScore?[] answers, List<TokenWindow> windows, CancellationToken cancellation)
    {
        long done = 0, total = plan.DistinctTokens.Sum(), begin = options.Time.GetTimestamp();
        options.Progress?.Report(new EngineProgress(0, total, TimeSpan.Zero));
        int size = options.BatchSize ?? Math.Max(1, plan.Groups.Length);
        for (int first = 0; first < plan.Groups.Length; first += size)
        {
            cancellation.ThrowIfCancellationRequested();
            ImmutableArray<ContinuationGroup> batch = plan.Groups.Slice(first, Math.Min(size, plan.Groups.Length - first));
            int offset = first;
            scorer.Score(batch, (index, scores) =>
            {
                for (int i = 0; i < scores.Length; i++)
                {
                    int window = plan.Windows[offset + index][i];
                    answers[window] = scores[i];
                    options.Cache?.Add(windows[window], scores[i]);
                }

                done += plan.DistinctTokens[offset + index];
                options.Progress?.Report(new EngineProgress(done, total, options.Time.GetElapsedTime(begin)));
            }, cancellation);
        }
    }

    static ContinuationScore Total(int[] windows, ContinuationScore?[] answers)
    {
        (double sum, bool greedy) = (0, true);
        foreach (int window in windows)
        {
            ContinuationScore score = answers[window] ?? throw new InvalidOperationException("The scorer left a group out.");
            (sum, greedy) = (sum + score.LogProbability, greedy && score.IsGreedy);
        }

        return new ContinuationScore(sum, greedy);
    }
}
