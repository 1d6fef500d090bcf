using System.Collections.Immutable;
using OpenElm.Evaluation.Metrics;
using OpenElm.Evaluation.Suites;

namespace OpenElm.Evaluation.Reports;

/// <summary>Compares two models document by document.</summary>
public static class ResultsComparison
{
    const int Named = 5;

    /// <summary>Compares all tasks that both reports have, their groups, and the suites that both completed.</summary>
    /// <param name="first">The first model.</param>
    /// <param name="second">The second model.</param>
    /// <returns>A row for each metric.</returns>
    /// <exception cref="OpenElmException">They share no task, or answered other documents, or with other examples.</exception>
    public static ImmutableArray<PairedComparison> Of(EvaluationReport first, EvaluationReport second)
    {
        ArgumentNullException.ThrowIfNull(first);
        ArgumentNullException.ThrowIfNull(second);
        var shared = (from one in first.Tasks join other in second.Tasks on (one.Task, one.Shots) equals (other.Task, other.Shots) select (First: one, Second: other)).ToArray();
        if (shared is [])
        {
            throw new OpenElmException($"The two files share no task with the same number of examples: the first has {Names(first)}, the second {Names(second)}.");
        }

        if (first.Seed != second.Seed && shared.Any(pair => pair.First.Shots > 0))
        {
            throw new OpenElmException($"The two files were made with different examples (seeds {first.Seed} and {second.Seed}); evaluate both with one --seed.");
        }

        string[] problems = [.. shared.Select(pair => Mismatch(pair.First, pair.Second)).OfType<string>()];
        if (problems is not [])
        {
            throw OpenElmException.Of("The two files cannot be paired", problems);
        }

        ImmutableArray<(string Name, int Shots, PairedComparison Row)> tasks = [.. shared.SelectMany(pair => Compare(pair.First.Task, [pair]).Select(row => (pair.First.Task, pair.First.Shots, row)))];
        ImmutableArray<(string Name, int Shots, PairedComparison Row)> groups = [.. shared
            .Where(pair => pair.First.Group is not null)
            .GroupBy(pair => (Group: pair.First.Group!, pair.First.Shots))
            .SelectMany(group => Compare(group.Key.Group, [.. group]).Select(row => (group.Key.Group, group.Key.Shots, row)))];
        IEnumerable<PairedComparison> suites = EvaluationSuite.All.Select(suite => Suite(suite, [.. groups, .. tasks])).OfType<PairedComparison>();
        return [.. groups.Select(row => row.Row), .. tasks.Select(row => row.Row), .. suites];
    }

    static IEnumerable<PairedComparison> Compare(string name, (TaskResult First, TaskResult Second)[] pairs)
    {
        for (int m = 0; m < pairs[0].First.Metrics.Length; m++)
        {
            string metric = pairs[0].First.Metrics[m].Name;
            double[] Values(Func<(TaskResult First, TaskResult Second), TaskResult> side) =>
                [.. pairs.SelectMany(pair => side(pair).Items.Select(item => item.Values[Index(side(pair), metric)]))];
            if (!pairs.All(pair => Index(pair.First, metric) >= 0 && Index(pair.Second, metric) >= 0))
            {
                continue;
            }

            double[] one = Values(pair => pair.First), other = Values(pair => pair.Second);
            yield return MetricSummary.IsPerplexity(metric)
                ? PairedComparison.OfRates(name, metric, one, other, [.. pairs.SelectMany(pair => pair.First.Items.Select(item => MetricSummary.Weight(metric, item)))])
                : PairedComparison.OfMeans(name, metric, one, other);
        }
    }

    static PairedComparison? Suite(EvaluationSuite suite, IReadOnlyCollection<(string Name, int Shots, PairedComparison Row)> rows)
    {
        PairedComparison?[] columns = [.. suite.Columns.Select(column => rows.FirstOrDefault(row => row.Name == column.Task && row.Shots == column.Shots && row.Row.Metric == column.Metric).Row)];
        return columns.Contains(null) ? null : PairedComparison.OfAverage(suite.Title, [.. columns!]);
    }

    static string? Mismatch(TaskResult first, TaskResult second)
    {
        if (!first.StandIns.SequenceEqual(second.StandIns))
        {
            return $"{first.Task} has other data: in the first file {Data(first)}, in the second {Data(second)}";
        }

        int[] one = [.. first.Items.Select(item => item.DocumentId)], other = [.. second.Items.Select(item => item.DocumentId)];
        if (one.AsSpan().SequenceEqual(other))
        {
            return null;
        }

        int[] lonely = [.. one.Except(other).Concat(other.Except(one)).Order()];
        return lonely is []
            ? $"{first.Task} has its documents in another order"
            : $"{first.Task} has {one.Length} and {other.Length} documents; only one file has document {string.Join(", ", lonely.Take(Named))}{(lonely.Length > Named ? ", …" : "")}";
    }

    static string Data(TaskResult task) => task.StandIns is [] ? "the official ones" : string.Join(" and ", task.StandIns.Select(standIn => standIn.Description));

    static int Index(TaskResult task, string metric) => task.Metrics.ToList().FindIndex(other => other.Name == metric);

    static string Names(EvaluationReport report) => string.Join(", ", report.Tasks.Take(Named).Select(task => $"{task.Task} ({task.Shots})"));
}
