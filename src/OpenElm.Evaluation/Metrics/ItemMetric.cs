using System.Collections.Immutable;
using OpenElm.Evaluation.Tasks;
using OpenElm.Scoring;

namespace OpenElm.Evaluation.Metrics;

/// <summary>What one document's scores count in a metric, by the harness' rules.</summary>
public static class ItemMetric
{
    /// <summary>The document's part of a metric.</summary>
    /// <param name="metric">The harness' name.</param>
    /// <param name="item">The document.</param>
    /// <param name="answer">The model's answer.</param>
    /// <returns>As for scores; of a written answer, 1 if it is the right one.</returns>
    /// <exception cref="OpenElmException">There is no such metric, or the document lacks what it needs.</exception>
    public static double Of(string metric, EvaluationItem item, ItemAnswer answer)
    {
        ArgumentNullException.ThrowIfNull(item);
        ArgumentNullException.ThrowIfNull(answer);
        return item.Expected is not { } expected ? Of(metric, item, answer.Scores)
            : metric == "acc" ? answer.Found == expected.Right ? 1 : 0
            : throw new OpenElmException($"The metric '{metric}' is for scores; an answer that the model writes has acc.");
    }

    /// <summary>The document's part of a metric.</summary>
    /// <param name="metric">The harness' name.</param>
    /// <param name="item">The document.</param>
    /// <param name="scores">One for each of its requests.</param>
    /// <returns>0 or 1 for accuracies, a share for <c>mc2</c>, the log-probability for perplexities.</returns>
    /// <exception cref="OpenElmException">There is no such metric, or the document lacks what it needs.</exception>
    public static double Of(string metric, EvaluationItem item, ImmutableArray<ContinuationScore> scores)
    {
        ArgumentNullException.ThrowIfNull(item);
        if (scores.Length != item.Requests.Length || scores.IsEmpty)
        {
            throw new ArgumentException($"Document {item.DocumentId} has {item.Requests.Length} requests and {scores.Length} scores.", nameof(scores));
        }

        return metric switch
        {
            "acc" when item.Choices.IsEmpty && scores.Length == 1 => scores[0].IsGreedy ? 1 : 0, // LAMBADA: the model would write this word
            "acc" or "mc1" => Right(item, FirstLargest(scores, static (score, _) => score.LogProbability)),
            "acc_norm" => Right(item, FirstLargest(scores, (score, i) => score.LogProbability / Length(item, i))),
            "mc2" => ShareOfTrue(item, scores),
            "pct_stereotype" => Pair(scores, item) is var (more, less) && more > less ? 1 : 0,
            "likelihood_diff" => Pair(scores, item) is var (more, less) ? Math.Abs(more - less) : 0,
            "perplexity" or "word_perplexity" or "byte_perplexity" or "bits_per_byte" => scores.Sum(score => score.LogProbability),
            _ => throw new OpenElmException($"There is no metric '{metric}'; known are {string.Join(", ", Names)}."),
        };
    }

    /// <summary>The metrics by the harness' names.</summary>
    public static ImmutableArray<string> Names { get; } =
        ["acc", "acc_norm", "mc1", "mc2", "pct_stereotype", "likelihood_diff", "perplexity", "word_perplexity", "byte_perplexity", "bits_per_byte"];

    /// <summary>Code points of a text: what Python's <c>len</c> counts.</summary>
    /// <param name="text">The text.</param>
    /// <returns>Surrogate pairs count once.</returns>
    public static int CodePoints(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        int count = text.Length;
        for (int i = 1; i < text.Length; i++)
        {
            if (char.IsSurrogatePair(text[i - 1], text[i]))
            {
                count--;
            }
        }

        return count;
    }

    static double Right(EvaluationItem item, int chosen) => item.Gold >= 0 && item.Gold < item.Requests.Length
        ? chosen == item.Gold ? 1 : 0
        : throw new OpenElmException($"Document {item.DocumentId} has {item.Requests.Length} choices and the right one is number {item.Gold}; its accuracy has no meaning.");

    // np.argmax: of equal scores the first wins.
    static int FirstLargest(ImmutableArray<ContinuationScore> scores, Func<ContinuationScore, int, double> value)
    {
        int best = 0;
        double largest = value(scores[0], 0);
        for (int i = 1; i < scores.Length; i++)
        {
            if (value(scores[i], i) is var other && other > largest)
            {
                (best, largest) = (i, other);
            }
        }

        return best;
    }

    static int Length(EvaluationItem item, int choice) => choice < item.Choices.Length && CodePoints(item.Choices[choice]) is > 0 and var length
        ? length
        : throw new OpenElmException($"Document {item.DocumentId} has no text for choice {choice}; acc_norm divides by its length.");

    // Σ p(true) / Σ p(all); shifted by the largest, so that long answers do not vanish together.
    static double ShareOfTrue(EvaluationItem item, ImmutableArray<ContinuationScore> scores)
    {
        if (item.TrueChoices < 1 || item.TrueChoices >= scores.Length)
        {
            throw new OpenElmException($"Document {item.DocumentId} has {scores.Length} answers of which {item.TrueChoices} are true; mc2 needs true and false ones.");
        }

        double shift = scores.Max(score => score.LogProbability);
        double[] likelihoods = [.. scores.Select(score => Math.Exp(score.LogProbability - shift))];
        return likelihoods[..item.TrueChoices].Sum() / likelihoods.Sum();
    }

    static (double More, double Less) Pair(ImmutableArray<ContinuationScore> scores, EvaluationItem item) => scores is [var more, var less]
        ? (more.LogProbability, less.LogProbability)
        : throw new OpenElmException($"Document {item.DocumentId} has {scores.Length} sentences; a pair has two.");
}
