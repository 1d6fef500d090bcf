using System.Collections.Immutable;
using OpenElm.Evaluation.Metrics;
using OpenElm.Evaluation.Tasks;

namespace OpenElm.Evaluation.Suites;

/// <summary>A cell of a suite's table.</summary>
/// <param name="Column">The column.</param>
/// <param name="Value">The metric that counts; null where the task was not run, or not all tasks of a group.</param>
public sealed record SuiteCell(SuiteColumn Column, MetricValue? Value)
{
    /// <summary>What stands in for missing data of the task, or of tasks of the group.</summary>
    public ImmutableArray<StandIn> StandIns { get; init; } = [];

    /// <summary>Documents whose beginning was cut off because the model takes fewer tokens.</summary>
    public int Truncated { get; init; }
}

/// <summary>A model's row in a suite's table.</summary>
/// <param name="Suite">The suite.</param>
/// <param name="Cells">Column by column.</param>
public sealed record SuiteResult(EvaluationSuite Suite, ImmutableArray<SuiteCell> Cells)
{
    /// <summary>The mean of all columns, unrounded; null while one is missing: a mean of fewer columns compares with nothing.</summary>
    public double? Average => Missing is [] ? PartialAverage : null;

    /// <summary>The average's standard error, the tasks being independent.</summary>
    public double? StandardError => Cells.Any(cell => cell.Value?.StandardError is null)
        ? null
        : Math.Sqrt(Cells.Sum(cell => cell.Value!.StandardError!.Value * cell.Value.StandardError.Value)) / Cells.Length;

    /// <summary>The mean of those columns that have a value; null if none has.</summary>
    public double? PartialAverage => Cells.Where(cell => cell.Value is not null).Select(cell => (double?)cell.Value!.Value).Average();

    /// <summary>The columns without a value.</summary>
    public ImmutableArray<SuiteColumn> Missing => [.. Cells.Where(cell => cell.Value is null).Select(cell => cell.Column)];

    /// <summary>Picks a suite's cells from results.</summary>
    /// <param name="suite">The suite.</param>
    /// <param name="tasks">The tasks' results.</param>
    /// <param name="leftOut">Tasks that were not evaluated: a group that lacks one has no value.</param>
    /// <returns>The row.</returns>
    public static SuiteResult Of(EvaluationSuite suite, IReadOnlyCollection<TaskResult> tasks, IReadOnlyCollection<LeftOutTask>? leftOut = null)
    {
        ArgumentNullException.ThrowIfNull(suite);
        ArgumentNullException.ThrowIfNull(tasks);
        ImmutableArray<GroupResult> groups = GroupResult.Of(tasks);
        return new SuiteResult(suite, [.. suite.Columns.Select(Cell)]);

        SuiteCell Cell(SuiteColumn column)
        {
            TaskResult? task = tasks.FirstOrDefault(task => task.Task == column.Task && task.Shots == column.Shots);
            GroupResult? group = groups.FirstOrDefault(group => group.Name == column.Task && group.Shots == column.Shots);
            bool isIncomplete = leftOut?.Any(task => task.Group == column.Task && task.Shots == column.Shots) ?? false;
            MetricValue? value = isIncomplete ? null : (task?.Metrics ?? group?.Metrics)?.FirstOrDefault(metric => metric.Name == column.Metric);
            return new SuiteCell(column, value) { StandIns = task?.StandIns ?? group?.StandIns ?? [], Truncated = task?.Truncated ?? group?.Truncated ?? 0 };
        }
    }
}
