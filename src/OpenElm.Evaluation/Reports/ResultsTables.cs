using System.Collections.Immutable;
using System.Globalization;
using OpenElm.Evaluation.Metrics;
using OpenElm.Evaluation.Suites;
using OpenElm.Evaluation.Tasks;

namespace OpenElm.Evaluation.Reports;

/// <summary>The tables that a person reads.</summary>
public static class ResultsTables
{
    /// <summary>The harness' table: a row for each metric; groups behind their tasks' mean, their tasks indented. Remarks on the data stand below.</summary>
    /// <param name="report">The report.</param>
    /// <returns>Markdown.</returns>
    public static string Tasks(EvaluationReport report)
    {
        ArgumentNullException.ThrowIfNull(report);
        var table = new MarkdownTable("Task", "Shots>", "Metric", "Value>", "±", "Stderr>", "Documents>");
        var notes = new Footnotes();
        var told = new HashSet<(string?, int)>();
        foreach (TaskResult task in report.Tasks)
        {
            if (task.Group is not null && told.Add((task.Group, task.Shots)))
            {
                GroupResult group = report.Groups.First(group => group.Name == task.Group && group.Shots == task.Shots);
                int missing = report.LeftOut.Count(other => other.Group == group.Name && other.Shots == group.Shots);
                Add(group.Name, group.Shots, group.Metrics, group.Documents, [
                    .. missing == 0 ? [] : new[] { $"without {missing} of its {missing + group.Tasks} tasks, which were left out: not the group's official mean" },
                    .. Remarks(group.StandIns, group.Truncated, group.Documents)]);
            }

            Add(task.Group is null ? task.Task : $"- {task.Task}", task.Shots, task.Metrics, task.Items.Length, Remarks(task.StandIns, task.Truncated, task.Items.Length));
        }

        foreach (LeftOutTask task in report.LeftOut)
        {
            table.Add(task.Task + notes.Marks(["left out: its data cannot be read (the reason is among the warnings, and in the results as JSON)"]), Whole(task.Shots), "–", "–", "", "", "0");
        }

        return $"{table}{notes}";

        void Add(string name, int shots, ImmutableArray<MetricValue> metrics, int documents, IEnumerable<string> remarks)
        {
            name += notes.Marks(remarks);
            foreach (MetricValue metric in metrics)
            {
                table.Add(name, Whole(shots), metric.Name, Number(metric.Value), metric.StandardError is null ? "" : "±", Number(metric.StandardError), Whole(documents));
                name = "";
            }
        }

        IEnumerable<string> Remarks(ImmutableArray<StandIn> standIns, int truncated, int documents) => [
            .. standIns.Select(standIn => standIn.Description),
            .. truncated == 0 ? [] : new[] { $"{(truncated == documents ? "all" : $"{truncated} of {documents}")} documents are longer than the {report.MaxLength} tokens that the model takes: their beginning, examples first, is cut off" }];
    }

    /// <summary>The paper's table of a suite, in percent; below, the standard errors, the paper's own row where the model is one of its, and what the average lacks.</summary>
    /// <param name="report">The report.</param>
    /// <param name="row">The suite's row.</param>
    /// <param name="comparePaper">Whether to show the paper's row.</param>
    /// <returns>Markdown.</returns>
    public static string Suite(EvaluationReport report, SuiteResult row, bool comparePaper)
    {
        ArgumentNullException.ThrowIfNull(report);
        ArgumentNullException.ThrowIfNull(row);
        var notes = new Footnotes();
        string[] headings = [.. row.Cells.Select(cell => $"{cell.Column.Title} ({cell.Column.Shots}){notes.Marks(cell.StandIns.Select(standIn => standIn.Description))}>")];
        var table = new MarkdownTable([$"{row.Suite.Title} (%)", .. headings, $"average{notes.Marks(AverageRemarks(report, row))}>"]);
        table.Add([report.Model, .. row.Cells.Select(cell => Percent(cell.Value?.Value)), Percent(row.Average)]);
        table.Add(["± stderr", .. row.Cells.Select(cell => Percent(cell.Value?.StandardError)), Percent(row.StandardError)]);
        if (comparePaper && PaperNumbers.Find(row.Suite, report.Model) is { } paper)
        {
            table.Add(["paper", .. paper.Cells.Select(cell => Percent(cell / 100)), Percent(paper.Average / 100)]);
        }

        return $"{table}{notes}";
    }

    // A mean that is not the paper's says so.
    static IEnumerable<string> AverageRemarks(EvaluationReport report, SuiteResult row)
    {
        if (row.Missing is not [] and var missing)
        {
            yield return $"there is no average: {string.Join(", ", missing.Select(column => column.Title))} {(missing.Length == 1 ? "has" : "have")} no value"
                + (row.PartialAverage is { } partial ? $"; the mean of the other {row.Cells.Length - missing.Length} is {Percent(partial)}" : "");
        }

        if (row.Cells.Count(cell => cell.StandIns is not []) is > 0 and var standIns)
        {
            yield return $"{standIns} of {row.Cells.Length} columns use data that stand in for official ones: compare with other models on the same data only";
        }

        if (report.Limit is { } limit)
        {
            yield return $"of at most {limit} documents of each task (--limit)";
        }
    }

    /// <summary>The table of a comparison.</summary>
    /// <param name="comparisons">Row by row.</param>
    /// <returns>Markdown.</returns>
    public static string Comparison(IEnumerable<PairedComparison> comparisons)
    {
        ArgumentNullException.ThrowIfNull(comparisons);
        var table = new MarkdownTable("Task", "Metric", "Documents>", "First>", "Second>", "Difference>", "95 % interval", "p>", "");
        foreach (PairedComparison row in comparisons)
        {
            string interval = row is { Low: { } low, High: { } high } ? $"{Signed(low)} … {Signed(high)}" : "";
            string verdict = row.PValue is < 0.05 ? "differs" : "noise";
            table.Add(row.Name, row.Metric, Whole(row.Documents), Number(row.First), Number(row.Second), Signed(row.Difference), interval,
                row.PValue is { } p ? p < 0.0001 ? "<0.0001" : Number(p) : "", row.PValue is null ? "" : verdict);
        }

        return table.ToString();
    }

    internal static string Number(double? value) => value is { } known ? known.ToString(Math.Abs(known) < 1e4 ? "F4" : "G5", CultureInfo.InvariantCulture) : "";

    internal static string Percent(double? share) => share is { } known ? (100 * known).ToString("F2", CultureInfo.InvariantCulture) : "–";

    static string Signed(double value) => value.ToString("+0.0000;-0.0000;0.0000", CultureInfo.InvariantCulture);

    static string Whole(int value) => value.ToString(CultureInfo.InvariantCulture);
}
