using System.Collections.Immutable;
using OpenElm.Scoring;

namespace OpenElm.Evaluation.Metrics;

/// <summary>A metric over the documents of a task.</summary>
/// <param name="Name">The harness' name.</param>
/// <param name="Value">The mean, or a perplexity.</param>
/// <param name="StandardError">Its standard error: analytic for means, bootstrap for perplexities; null for a single document.</param>
public sealed record MetricValue(string Name, double Value, double? StandardError);

/// <summary>One document's scores and what they count.</summary>
/// <param name="DocumentId">The row of the data.</param>
/// <param name="Scores">One for each request.</param>
/// <param name="Values">The document's part of each metric, in the task's order.</param>
public sealed record ItemResult(int DocumentId, ImmutableArray<ContinuationScore> Scores, ImmutableArray<double> Values)
{
    /// <summary>Of a whole text: words and bytes that perplexities divide by. 0 elsewhere.</summary>
    public (int Words, int Bytes) Size { get; init; }
}

/// <summary>The results of a task.</summary>
/// <param name="Task">The task's name.</param>
/// <param name="Group">Its group, or null.</param>
/// <param name="Shots">Solved examples before each question.</param>
/// <param name="Metrics">Over all documents.</param>
/// <param name="Items">Document by document.</param>
public sealed record TaskResult(string Task, string? Group, int Shots, ImmutableArray<MetricValue> Metrics, ImmutableArray<ItemResult> Items);
