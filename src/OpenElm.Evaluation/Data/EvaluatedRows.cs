using System.Collections.Immutable;
using OpenElm.Data.Rows;
using OpenElm.Evaluation.Tasks;

namespace OpenElm.Evaluation.Data;

/// <summary>The documents of a task: the official split, or a stand-in where it is missing and the user allows one.</summary>
/// <param name="Rows">The rows as they were read.</param>
/// <param name="Split">The split they are; null for files that are none of the task's splits.</param>
/// <param name="StandIn">What stands in for what; null for the official split.</param>
internal sealed record EvaluatedRows(ImmutableArray<DataRow> Rows, string? Split, StandIn? StandIn)
{
    /// <summary>Reads the documents. The files that the task names as stand-ins come first, then the validation split for a test split.</summary>
    /// <param name="data">The data folder.</param>
    /// <param name="task">The task.</param>
    /// <param name="allowStandIns">Whether anything but the official split may be taken.</param>
    /// <returns>The rows.</returns>
    /// <exception cref="OpenElmException">The split is missing; the message says what could stand in.</exception>
    public static EvaluatedRows Read(EvaluationData data, TaskDefinition task, bool allowStandIns)
    {
        string split = task.EvaluatedSplit;
        if (SplitFiles.Exist(data, task, split))
        {
            return new EvaluatedRows(SplitFiles.Read(data, task, split), split, null);
        }

        string[] files = [.. SplitFiles.StandIns(data, task)];
        string? other = files is [] && task.ValidationSplit is { } validation && validation != split && SplitFiles.Exist(data, task, validation) ? validation : null;
        string? used = files is [var first, ..] ? Path.GetRelativePath(data.Root, first) : other is null ? null : $"the split '{other}'";
        return used is null || !allowStandIns
            ? throw SplitFiles.Missing(data, task, split, used)
            : new EvaluatedRows(other is null ? SplitFiles.Rows(files, task) : SplitFiles.Read(data, task, other), other, new StandIn(StandInKind.Documents, split, used));
    }
}
