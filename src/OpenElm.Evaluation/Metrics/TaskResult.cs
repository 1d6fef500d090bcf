using System.Collections.Immutable;
using OpenElm.Evaluation.Tasks;
using OpenElm.Scoring;

namespace OpenElm.Evaluation.Metrics;

/// <summary>A metric over the documents of a task.</summary>
/// <param name="Name">The harness' name.</param>
/// <param name="Value">The mean, or a perplexity.</param>
/// <param name="StandardError">Its standard error: analytic for means, bootstrap for perplexities; null for a single document.</param>
public sealed record MetricValue(string Name, double Value, double? StandardError);

/// <summary>What a model answered to a document.</summary>
public sealed record ItemAnswer
{
    /// <summary>One for each request; none where the model wrote a text.</summary>
    public ImmutableArray<ContinuationScore> Scores { get; init; } = [];

    /// <summary>What the model wrote; null where it was asked for scores.</summary>
    public string? Text { get; init; }

    /// <summary>The answer found in <see cref="Text"/>; null if there is none.</summary>
    public string? Found { get; init; }

    /// <summary>Whether the beginning of a request was cut off because the model takes fewer tokens.</summary>
    public bool IsTruncated { get; init; }
}

/// <summary>One document's answer and what it counts.</summary>
/// <param name="DocumentId">The row of the data.</param>
/// <param name="Answer">What the model answered.</param>
/// <param name="Values">The document's part of each metric, in the task's order.</param>
public sealed record ItemResult(int DocumentId, ItemAnswer Answer, ImmutableArray<double> Values)
{
    /// <summary>The right choice; −1 where there is none.</summary>
    public int Gold { get; init; } = -1;

    /// <summary>The right answer, where the model wrote one; null elsewhere.</summary>
    public string? Expected { get; init; }

    /// <summary>Of a whole text: words and bytes that perplexities divide by. 0 elsewhere.</summary>
    public (int Words, int Bytes) Size { get; init; }
}

/// <summary>The results of a task.</summary>
/// <param name="Task">The task's name.</param>
/// <param name="Group">Its group, or null.</param>
/// <param name="Shots">Solved examples before each question.</param>
/// <param name="Metrics">Over all documents.</param>
/// <param name="Items">Document by document.</param>
public sealed record TaskResult(string Task, string? Group, int Shots, ImmutableArray<MetricValue> Metrics, ImmutableArray<ItemResult> Items)
{
    /// <summary>What stands in for missing data.</summary>
    public ImmutableArray<StandIn> StandIns { get; init; } = [];

    /// <summary>Written texts in which no answer was found; they count as wrong.</summary>
    public int Unanswered => Items.Count(item => item.Answer is { Text: not null, Found: null });

    /// <summary>Documents whose beginning was cut off because the model takes fewer tokens.</summary>
    public int Truncated => Items.Count(item => item.Answer.IsTruncated);
}
