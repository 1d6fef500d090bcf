using System.Collections.Immutable;
using System.Globalization;
using System.Net;
using OpenElm.Evaluation.Metrics;
using OpenElm.Evaluation.Suites;

namespace OpenElm.Evaluation.Reports;

/// <summary>The tables that a person reads.</summary>
public static class ResultsTables
{
    /// <summary>The harness' table: a row for each metric; groups before their tasks, these indented. Remarks on the data stand below.</summary>
    /// <param name="report">The report.</param>
    /// <returns>Markdown.</returns>
    public static string Tasks(EvaluationReport report)
    {
        ArgumentNullException.ThrowIfNull(report);
        var notes = new Footnotes();
        string Heading(string name, string remark) => $"{name}{notes.Marks([remark])}>";
        var headings = new List<string>(); // of what most evaluations have none of
        bool hasTruncated = report.Tasks.Any(task => task.Truncated > 0), hasUnanswered = report.Tasks.Any(task => task.Unanswered > 0);
        if (hasTruncated)
        {
            headings.Add(Heading("Truncated", $"documents that are longer than the {report.MaxLength} tokens that the model takes: their beginning, examples first, is cut off"));
        }

        if (hasUnanswered)
        {
            headings.Add(Heading("Unanswered", "texts of the model in which no answer was found; they count as wrong"));
        }

        var table = new TextTable(["Task", "Shots>", "Metric", "Value>", "±", "Stderr>", "Documents>", .. headings]);
        var told = new HashSet<(string?, int)>();
        foreach (TaskResult task in report.Tasks)
        {
            if (task.Group is not null && told.Add((task.Group, task.Shots)))
            {
                GroupResult group = report.Groups.First(group => group.Name == task.Group && group.Shots == task.Shots);
                Add(group.Name, group.Shots, group.Metrics, group.Documents, group.Truncated, group.Unanswered, GroupRemarks(report, group));
            }

            Add(task.Group is null ? task.Task : $"- {task.Task}", task.Shots, task.Metrics, task.Items.Length, task.Truncated, task.Unanswered, task.StandIns.Select(standIn => standIn.Description));
        }

        foreach (LeftOutTask task in report.LeftOut)
        {
            Add(task.Task, task.Shots, [], 0, 0, 0, ["left out: its data cannot be read (the reason is among the warnings, and in the results as JSON)"]);
        }

        return $"{table}{notes}";

        void Add(string name, int shots, ImmutableArray<MetricValue> metrics, int documents, int truncated, int unanswered, IEnumerable<string> remarks)
        {
            name += notes.Marks(remarks);
            foreach (MetricValue metric in metrics)
            {
                AddRow(name, metric.Name, Number(metric.Value), metric.StandardError is null ? "" : "±", Number(metric.StandardError));
                name = "";
            }

            if (metrics is [])
            {
                AddRow(name, "–", "–", "", "");
            }

            void AddRow(string first, string metric, string value, string sign, string error) =>
                table.Add([
                    first, Whole(shots), metric, value, sign, error, Whole(documents),
                    .. hasTruncated ? new[] { Whole(truncated) } : [], .. hasUnanswered ? new[] { Whole(unanswered) } : []]);
        }
    }

    static IEnumerable<string> GroupRemarks(EvaluationReport report, GroupResult group)
    {
        if (report.LeftOut.Count(task => task.Group == group.Name && task.Shots == group.Shots) is > 0 and var missing)
        {
            yield return $"without {missing} of its {missing + group.Tasks.Length} tasks, which were left out: not the group's official mean";
        }

        if (group.Tasks.Count(task => task.StandIns is not []) is > 0 and var standIns)
        {
            yield return $"{standIns} of its {group.Tasks.Length} tasks {(standIns == 1 ? "uses" : "use")} data that stand in for official ones";
        }
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
        var table = new TextTable([$"{row.Suite.Title} (%)", .. headings, $"average{notes.Marks(AverageRemarks(report, row))}>"]);
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
                + (row.PartialAverage is { } partial ? $"; the mean over the rest, {row.Cells.Length - missing.Length} of {row.Cells.Length} columns, is {Percent(partial)}" : "");
        }

        if (row.Cells.Count(cell => cell.StandIns is not []) is > 0 and var standIns)
        {
            yield return $"{standIns} of {row.Cells.Length} columns {(standIns == 1 ? "uses" : "use")} data that stand in for official ones: compare with other models on the same data only";
        }

        if (row.Cells.Count(cell => cell.Truncated > 0) is > 0 and var truncated)
        {
            yield return $"documents in {truncated} of {row.Cells.Length} columns are longer than the model takes, and truncated";
        }

        if (report.Limit is { } limit)
        {
            yield return $"of at most {limit} documents of each task (--limit)";
        }
    }

    /// <summary>The table of a comparison.</summary>
    /// <param name="comparisons">Row by row.</param>
    /// <returns>Markdown.</returns>
    public static string Comparison(IEnumerable<PairedComparison> comparisons) => ComparisonTable(comparisons).ToString();

    /// <summary>A comparison as a part of an HTML page.</summary>
    /// <param name="first">The first model's name.</param>
    /// <param name="second">The second model's.</param>
    /// <param name="comparisons">Row by row.</param>
    /// <returns>HTML that may stand in a body.</returns>
    public static string ComparisonSection(string first, string second, ImmutableArray<PairedComparison> comparisons) =>
        $"<h2>Evaluation against another model</h2>\n<p>First: {WebUtility.HtmlEncode(first)}. Second: {WebUtility.HtmlEncode(second)}. {ComparisonRemark(comparisons)}</p>\n{ComparisonTable(comparisons).ToHtml()}";

    /// <summary>How a comparison is to be read.</summary>
    /// <param name="comparisons">Row by row.</param>
    /// <returns>Two sentences.</returns>
    public static string ComparisonRemark(ImmutableArray<PairedComparison> comparisons) => string.Create(
        CultureInfo.InvariantCulture,
        $"Differences are second − first over the same documents. {comparisons.Count(row => row.PValue is < 0.05)} of {comparisons.Length} have p < 0.05; of {comparisons.Length} comparisons of equal models, {0.05 * comparisons.Length:0.#} would.");

    static TextTable ComparisonTable(IEnumerable<PairedComparison> comparisons)
    {
        ArgumentNullException.ThrowIfNull(comparisons);
        var table = new TextTable("Task", "Metric", "Documents>", "First>", "Second>", "Difference>", "95 % interval", "p>", "");
        foreach (PairedComparison row in comparisons)
        {
            string interval = row is { Low: { } low, High: { } high } ? $"{Signed(low)} … {Signed(high)}" : "";
            string verdict = row.PValue is < 0.05 ? "differs" : "noise";
            table.Add(row.Name, row.Metric, Whole(row.Documents), Number(row.First), Number(row.Second), Signed(row.Difference), interval,
                row.PValue is { } p ? p < 0.0001 ? "<0.0001" : Number(p) : "", row.PValue is null ? "" : verdict);
        }

        return table;
    }

    internal static string Number(double? value) => value is { } known ? known.ToString(Math.Abs(known) switch { < 1e3 => "F4", < 1e7 => "F1", _ => "G5" }, CultureInfo.InvariantCulture) : "";

    internal static string Percent(double? share) => share is { } known ? (100 * known).ToString("F2", CultureInfo.InvariantCulture) : "–";

    static string Signed(double value) => value.ToString("+0.0000;-0.0000;0.0000", CultureInfo.InvariantCulture);

    static string Whole(int value) => value.ToString(CultureInfo.InvariantCulture);
}
