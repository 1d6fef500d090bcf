using System.Collections.Immutable;
using OpenElm.Evaluation.Tasks;

namespace OpenElm.Evaluation.Metrics;

/// <summary>From answers to the results of a task.</summary>
public static class TaskSummary
{
    /// <summary>Computes a task's metrics.</summary>
    /// <param name="prepared">The task and its documents.</param>
    /// <param name="answers">One for each document.</param>
    /// <returns>The results.</returns>
    /// <exception cref="OpenElmException">There is no document, or one lacks what a metric needs; the task is named.</exception>
    public static TaskResult Of(PreparedTask prepared, IReadOnlyList<ItemAnswer> answers)
    {
        ArgumentNullException.ThrowIfNull(prepared);
        ArgumentNullException.ThrowIfNull(answers);
        IEvaluationTask task = prepared.Task;
        try
        {
            ImmutableArray<ItemResult> results = [.. prepared.Items.Select((item, i) => Result(task, item, answers[i]))];
            return new TaskResult(task.Name, task.Group, prepared.Shots, [.. task.Metrics.Select((metric, i) => MetricSummary.Of(metric, results, i))], results) { StandIns = prepared.StandIns };
        }
        catch (OpenElmException problem)
        {
            throw new OpenElmException($"{task.Name}: {problem.Message}", problem);
        }
    }

    static ItemResult Result(IEvaluationTask task, EvaluationItem item, ItemAnswer answer)
    {
        if (answer.Text is { } text && item.Expected is { } expected)
        {
            answer = answer with { Found = expected.Find(task.Generation?.Counted(text) ?? text) };
        }

        return new ItemResult(item.DocumentId, answer, [.. task.Metrics.Select(metric => ItemMetric.Of(metric, item, answer))])
        {
            Gold = item.Gold,
            Expected = item.Expected?.Right,
            Size = item.Size,
        };
    }
}
