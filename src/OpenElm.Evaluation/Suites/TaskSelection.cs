using System.Collections.Immutable;
using OpenElm.Evaluation.Data;
using OpenElm.Evaluation.Tasks;

namespace OpenElm.Evaluation.Suites;

/// <summary>A task and how its items are made.</summary>
/// <param name="Task">The task.</param>
/// <param name="Options">How.</param>
public sealed record SelectedTask(IEvaluationTask Task, ItemOptions Options)
{
    /// <summary>Solved examples before each question.</summary>
    public int Shots => Task.ShotsWith(Options);
}

/// <summary>A task that was asked for and not evaluated.</summary>
/// <param name="Task">Its name.</param>
/// <param name="Group">Its group, or null.</param>
/// <param name="Shots">Solved examples before each question.</param>
/// <param name="Reason">What is wrong with its data.</param>
public sealed record LeftOutTask(string Task, string? Group, int Shots, string Reason);

/// <summary>From what a user asked for to tasks with documents.</summary>
public static class TaskSelection
{
    /// <summary>The tasks of suites and those named, each number of examples once.</summary>
    /// <param name="suites">Suites, with their own numbers of examples.</param>
    /// <param name="tasks">Names of tasks or groups, or YAML files of a user's own.</param>
    /// <param name="options">Limit, seed, and for the named tasks the number of examples.</param>
    /// <returns>The tasks, in the order they were asked for.</returns>
    /// <exception cref="OpenElmException">A task is unknown, or nothing was asked for; all problems are told.</exception>
    public static ImmutableArray<SelectedTask> Of(IEnumerable<EvaluationSuite> suites, IEnumerable<string> tasks, ItemOptions options)
    {
        ArgumentNullException.ThrowIfNull(suites);
        ArgumentNullException.ThrowIfNull(tasks);
        ArgumentNullException.ThrowIfNull(options);
        var problems = new List<string>();
        var known = new HashSet<(string, int)>();
        ImmutableArray<SelectedTask> selected = [.. suites
            .SelectMany(suite => suite.Columns)
            .SelectMany(column => Find(column.Task, options with { Shots = column.Shots }))
            .Concat(tasks.SelectMany(name => Find(name, options)))
            .Where(task => known.Add((task.Task.Name, task.Shots)))];
        return problems is not [] ? throw OpenElmException.Of("Not all tasks can be evaluated", problems)
            : selected is [] ? throw new OpenElmException("There is nothing to evaluate; name a suite or tasks.")
            : selected;

        IEnumerable<SelectedTask> Find(string name, ItemOptions with)
        {
            try
            {
                ImmutableArray<IEvaluationTask> found = name.EndsWith(".yaml", StringComparison.OrdinalIgnoreCase) || name.EndsWith(".yml", StringComparison.OrdinalIgnoreCase)
                    ? TaskCatalog.Load(name)
                    : TaskCatalog.Get(name);
                return found.Select(task => new SelectedTask(task, with));
            }
            catch (OpenElmException problem)
            {
                problems.Add(problem.Message);
                return [];
            }
        }
    }

    /// <summary>Reads the documents of tasks.</summary>
    /// <param name="tasks">The tasks.</param>
    /// <param name="data">Where the data are.</param>
    /// <param name="skipMissing">Whether tasks whose data cannot be read are left out; otherwise that is an error.</param>
    /// <param name="cancellation">Stops between two tasks.</param>
    /// <returns>Tasks with documents, and those that were left out.</returns>
    /// <exception cref="OpenElmException">Data are missing or wrong; all tasks' problems are told.</exception>
    public static (ImmutableArray<PreparedTask> Tasks, ImmutableArray<LeftOutTask> LeftOut) Prepare(
        IEnumerable<SelectedTask> tasks, EvaluationData data, bool skipMissing = false, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(tasks);
        var prepared = ImmutableArray.CreateBuilder<PreparedTask>();
        var leftOut = ImmutableArray.CreateBuilder<LeftOutTask>();
        foreach (SelectedTask selected in tasks)
        {
            cancellation.ThrowIfCancellationRequested();
            try
            {
                prepared.Add(selected.Task.Prepare(data, selected.Options));
            }
            catch (OpenElmException problem)
            {
                leftOut.Add(new LeftOutTask(selected.Task.Name, selected.Task.Group, selected.Shots, problem.Message));
            }
        }

        return leftOut.Count > 0 && (!skipMissing || prepared.Count == 0)
            ? throw OpenElmException.Of("The data of some tasks cannot be used", [.. leftOut.Select(task => $"{task.Task} ({task.Shots}-shot): {task.Reason}")])
            : (prepared.ToImmutable(), leftOut.ToImmutable());
    }
}
