using System.Collections.Immutable;
using OpenElm.Evaluation.Tasks;

namespace OpenElm.Evaluation.Metrics;

/// <summary>Tasks of one group taken together, as MMLU's 57 subjects: means weighted by documents.</summary>
/// <param name="Name">The group's name.</param>
/// <param name="Shots">Solved examples before each question.</param>
/// <param name="Tasks">The tasks' results.</param>
/// <param name="Metrics">The weighted means, with the harness' pooled standard error.</param>
public sealed record GroupResult(string Name, int Shots, ImmutableArray<TaskResult> Tasks, ImmutableArray<MetricValue> Metrics)
{
    /// <summary>How many documents.</summary>
    public int Documents => Tasks.Sum(task => task.Items.Length);

    /// <summary>Documents whose beginning was cut off because the model takes fewer tokens.</summary>
    public int Truncated => Tasks.Sum(task => task.Truncated);

    /// <summary>Written texts in which no answer was found; they count as wrong.</summary>
    public int Unanswered => Tasks.Sum(task => task.Unanswered);

    /// <summary>What stands in for missing data of any of the tasks.</summary>
    public ImmutableArray<StandIn> StandIns => [.. Tasks.SelectMany(task => task.StandIns).Distinct()];

    /// <summary>The groups among results, in the order of their first task.</summary>
    /// <param name="results">The tasks' results.</param>
    /// <returns>One for each group.</returns>
    public static ImmutableArray<GroupResult> Of(IEnumerable<TaskResult> results) =>
        [.. results.Where(result => result.Group is not null).GroupBy(result => (Group: result.Group!, result.Shots)).Select(group => Of(group.Key.Group, group.Key.Shots, [.. group]))];

    static GroupResult Of(string name, int shots, ImmutableArray<TaskResult> tasks)
    {
        // Only what all tasks have; a perplexity is no mean of its tasks'.
        IEnumerable<string> metrics = tasks[0].Metrics.Select(metric => metric.Name)
            .Where(metric => !MetricSummary.IsPerplexity(metric) && tasks.All(task => task.Metrics.Any(other => other.Name == metric)));
        return new GroupResult(name, shots, tasks, [.. metrics.Select(metric => Pool(
            metric, [.. tasks.Select(task => (task.Metrics.First(other => other.Name == metric), task.Items.Length))]))]);
    }

    /// <summary>The weighted mean and the pooled standard error: √(Σ (nᵢ − 1) nᵢ seᵢ² ÷ (N − tasks) ÷ N).</summary>
    internal static MetricValue Pool(string name, ImmutableArray<(MetricValue Metric, int Documents)> tasks)
    {
        double documents = tasks.Sum(task => (double)task.Documents);
        double mean = tasks.Sum(task => task.Metric.Value * task.Documents) / documents;
        if (tasks.Any(task => task.Metric.StandardError is null))
        {
            return new MetricValue(name, mean, null);
        }

        double squares = tasks.Sum(task => (task.Documents - 1.0) * task.Documents * task.Metric.StandardError!.Value * task.Metric.StandardError.Value);
        return new MetricValue(name, mean, Math.Sqrt(squares / (documents - tasks.Length) / documents));
    }
}
