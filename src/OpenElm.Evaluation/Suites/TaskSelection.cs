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

/// <summary>A task with its documents.</summary>
/// <param name="Task">The task.</param>
/// <param name="Shots">Solved examples before each question.</param>
/// <param name="Items">The documents.</param>
public sealed record PreparedTask(IEvaluationTask Task, int Shots, ImmutableArray<EvaluationItem> Items);

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
    /// <param name="skipped">Told of each task whose data cannot be read, which is then left out; null makes that an error.</param>
    /// <param name="cancellation">Stops between two tasks.</param>
    /// <returns>Tasks with documents.</returns>
    /// <exception cref="OpenElmException">Data are missing or wrong; all tasks' problems are told.</exception>
    public static ImmutableArray<PreparedTask> Prepare(IEnumerable<SelectedTask> tasks, EvaluationData data, Action<string>? skipped = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(tasks);
        var problems = new List<string>();
        var prepared = ImmutableArray.CreateBuilder<PreparedTask>();
        foreach (SelectedTask selected in tasks)
        {
            cancellation.ThrowIfCancellationRequested();
            try
            {
                prepared.Add(new PreparedTask(selected.Task, selected.Shots, selected.Task.Items(data, selected.Options)));
            }
            catch (OpenElmException problem)
            {
                problems.Add($"{selected.Task.Name} ({selected.Shots}-shot): {problem.Message}");
            }
        }

        if (problems is not [] && (skipped is null || prepared.Count == 0))
        {
            throw OpenElmException.Of("The data of some tasks cannot be used", problems);
        }

        problems.ForEach(problem => skipped?.Invoke(problem));
        return prepared.ToImmutable();
    }
}
