using System.Collections.Immutable;
using OpenElm.Scoring;

namespace OpenElm.Evaluation.Engine;

/// <summary>What has to be computed for a set of windows: each once, grouped by context, in an order in which neighbours share beginnings.</summary>
internal sealed class ScoringPlan
{
    // A context with thousands of continuations (an empty one) is asked piece by piece, so that progress is seen and kept.
    const int MostContinuations = 64;

    ScoringPlan(ImmutableArray<ContinuationGroup> groups, ImmutableArray<ImmutableArray<int>> windows, ImmutableArray<long> distinctTokens) =>
        (Groups, Windows, DistinctTokens) = (groups, windows, distinctTokens);

    /// <summary>What the scorer is asked.</summary>
    public ImmutableArray<ContinuationGroup> Groups { get; }

    /// <summary>[groups][continuations]: the distinct window that each answers.</summary>
    public ImmutableArray<ImmutableArray<int>> Windows { get; }

    /// <summary>[groups]: tokens that no group before has had at the same place behind the same beginning.</summary>
    public ImmutableArray<long> DistinctTokens { get; }

    /// <summary>A rank's part: neighbours, so that they still share beginnings; about as much work as the others'.</summary>
    /// <param name="rank">Which rank.</param>
    /// <param name="ranks">How many.</param>
    public ScoringPlan PartOf(int rank, int ranks)
    {
        long total = DistinctTokens.Sum();
        int begin = BeginOf(rank), end = rank == ranks - 1 ? Groups.Length : BeginOf(rank + 1);
        return new ScoringPlan(Groups[begin..end], Windows[begin..end], DistinctTokens[begin..end]);

        // The first group that has the shares of all ranks before it.
        int BeginOf(int part)
        {
            int group = 0;
            for (long before = 0; group < Groups.Length && before < total * part / ranks; group++)
            {
                before += DistinctTokens[group];
            }

            return group;
        }
    }

    /// <summary>Makes a plan.</summary>
    /// <param name="windows">Distinct windows.</param>
    /// <param name="wanted">Those to compute.</param>
    /// <returns>The plan.</returns>
    public static ScoringPlan Of(IReadOnlyList<TokenWindow> windows, IEnumerable<int> wanted)
    {
        var groups = ImmutableArray.CreateBuilder<ContinuationGroup>();
        var indices = ImmutableArray.CreateBuilder<ImmutableArray<int>>();
        var tokens = ImmutableArray.CreateBuilder<long>();
        ImmutableArray<int> lastContext = [], lastContinuation = [];
        foreach (IGrouping<ImmutableArray<int>, int> context in wanted
            .GroupBy(i => windows[i].Context, TokenSequences.Comparer).OrderBy(group => group.Key, TokenSequences.Comparer))
        {
            foreach (int[] part in context.OrderBy(i => windows[i].Continuation, TokenSequences.Comparer).Chunk(MostContinuations))
            {
                long distinct = context.Key.Length - TokenSequences.Shared(context.Key, lastContext);
                lastContinuation = distinct > 0 ? [] : lastContinuation;
                foreach (int i in part)
                {
                    ImmutableArray<int> continuation = windows[i].Continuation;
                    distinct += continuation.Length - 1 - Math.Min(TokenSequences.Shared(continuation, lastContinuation), continuation.Length - 1);
                    lastContinuation = continuation;
                }

                lastContext = context.Key;
                groups.Add(new ContinuationGroup(context.Key, [.. part.Select(i => windows[i].Continuation)]));
                indices.Add([.. part]);
                tokens.Add(distinct);
            }
        }

        return new ScoringPlan(groups.ToImmutable(), indices.ToImmutable(), tokens.ToImmutable());
    }
}
