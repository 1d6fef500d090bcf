using System.Collections.Immutable;
using OpenElm.Scoring;

namespace OpenElm.Benchmarks.Evaluation;

/// <summary>What a token costs the engine where nothing is shared, so that every pass is full: with and without its logits, for short sequences.</summary>
internal static class FullPasses
{
    // 64 sequences of 64 tokens are eight passes.
    const int Sequences = 64, Tokens = 64;

    /// <summary>Measures.</summary>
    /// <param name="engine">Makes a scorer.</param>
    /// <param name="vocab">Ids to draw from.</param>
    /// <param name="now">The clock.</param>
    /// <param name="repeats">Of which the median is taken.</param>
    /// <returns>Seconds of a token without logits, and what its logits (and the logarithm of their sum) add.</returns>
    public static (double Body, double Head) Measure(Func<IContinuationScorer> engine, int vocab, Func<TimeSpan> now, int repeats)
    {
        const int Few = 1, Many = Tokens / 2; // wanted rows of a sequence
        ContinuationGroup[] few = Groups(vocab, Few), many = Groups(vocab, Many);
        Seconds(few);
        double[] lessSeconds = new double[repeats], moreSeconds = new double[repeats];
        for (int i = 0; i < repeats; i++)
        {
            (lessSeconds[i], moreSeconds[i]) = (Seconds(few), Seconds(many));
        }

        (double less, double more) = (Median(lessSeconds), Median(moreSeconds));
        double head = (more - less) / (Sequences * (Many - Few));
        return (((less / Sequences) - (head * Few)) / Tokens, head);

        double Seconds(ContinuationGroup[] groups)
        {
            TimeSpan begin = now();
            using IContinuationScorer scorer = engine();
            scorer.Score(groups, (_, _) => { });
            return (now() - begin).TotalSeconds;
        }
    }

    static ContinuationGroup[] Groups(int vocab, int wanted)
    {
        var random = new Random(1);
        return [.. Enumerable.Range(0, Sequences).Select(_ => new ContinuationGroup(Ids(Tokens + 1 - wanted), [[.. Ids(wanted)]]))];

        ImmutableArray<int> Ids(int count) => [.. Enumerable.Range(0, count).Select(_ => random.Next(vocab))];
    }

    static double Median(double[] values) => values.Order().ElementAt(values.Length / 2);
}
