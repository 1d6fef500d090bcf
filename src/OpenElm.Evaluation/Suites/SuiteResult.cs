using System.Collections.Immutable;
using OpenElm.Evaluation.Metrics;

namespace OpenElm.Evaluation.Suites;

/// <summary>A cell of a suite's table.</summary>
/// <param name="Column">The column.</param>
/// <param name="Value">The metric that counts; null where the task was not run.</param>
public sealed record SuiteCell(SuiteColumn Column, MetricValue? Value);

/// <summary>A model's row in a suite's table.</summary>
/// <param name="Suite">The suite.</param>
/// <param name="Cells">Column by column.</param>
public sealed record SuiteResult(EvaluationSuite Suite, ImmutableArray<SuiteCell> Cells)
{
    /// <summary>The mean of all columns, unrounded; null while one is missing: a mean of fewer columns compares with nothing.</summary>
    public double? Average => Cells.Any(cell => cell.Value is null) ? null : Cells.Average(cell => cell.Value!.Value);

    /// <summary>The average's standard error, the tasks being independent.</summary>
    public double? StandardError => Cells.Any(cell => cell.Value?.StandardError is null)
        ? null
        : Math.Sqrt(Cells.Sum(cell => cell.Value!.StandardError!.Value * cell.Value.StandardError.Value)) / Cells.Length;

    /// <summary>Picks a suite's cells from results.</summary>
    /// <param name="suite">The suite.</param>
    /// <param name="tasks">The tasks' results.</param>
    /// <returns>The row.</returns>
    public static SuiteResult Of(EvaluationSuite suite, IReadOnlyCollection<TaskResult> tasks)
    {
        ArgumentNullException.ThrowIfNull(suite);
        ImmutableArray<GroupResult> groups = GroupResult.Of(tasks);
        return new SuiteResult(suite, [.. suite.Columns.Select(column => new SuiteCell(column, Metric(column)))]);

        MetricValue? Metric(SuiteColumn column)
        {
            ImmutableArray<MetricValue>? metrics =
                tasks.FirstOrDefault(task => task.Task == column.Task && task.Shots == column.Shots)?.Metrics
                ?? groups.FirstOrDefault(group => group.Name == column.Task && group.Shots == column.Shots)?.Metrics;
            return metrics?.FirstOrDefault(metric => metric.Name == column.Metric);
        }
    }
}
