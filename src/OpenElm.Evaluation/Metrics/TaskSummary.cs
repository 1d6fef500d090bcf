using System.Collections.Immutable;
using OpenElm.Evaluation.Tasks;
using OpenElm.Scoring;

namespace OpenElm.Evaluation.Metrics;

/// <summary>From scores to the results of a task.</summary>
public static class TaskSummary
{
    /// <summary>Computes a task's metrics.</summary>
    /// <param name="task">The task.</param>
    /// <param name="shots">Solved examples before each question.</param>
    /// <param name="items">The documents.</param>
    /// <param name="scores">For each document, one score for each request.</param>
    /// <returns>The results.</returns>
    /// <exception cref="OpenElmException">There is no document, or one lacks what a metric needs; the task is named.</exception>
    public static TaskResult Of(IEvaluationTask task, int shots, IReadOnlyList<EvaluationItem> items, IReadOnlyList<ImmutableArray<ContinuationScore>> scores)
    {
        ArgumentNullException.ThrowIfNull(task);
        ArgumentNullException.ThrowIfNull(items);
        ArgumentNullException.ThrowIfNull(scores);
        try
        {
            ImmutableArray<ItemResult> results = [.. items.Select((item, i) => new ItemResult(
                item.DocumentId, scores[i], [.. task.Metrics.Select(metric => ItemMetric.Of(metric, item, scores[i]))]) { Size = item.Size })];
            return new TaskResult(task.Name, task.Group, shots, [.. task.Metrics.Select((metric, i) => MetricSummary.Of(metric, results, i))], results);
        }
        catch (OpenElmException problem)
        {
            throw new OpenElmException($"{task.Name}: {problem.Message}", problem);
        }
    }
}
