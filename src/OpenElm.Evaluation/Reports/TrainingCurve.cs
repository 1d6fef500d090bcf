using System.Collections.Immutable;
using System.Globalization;
using System.Text;
using OpenElm.Evaluation.Metrics;
using OpenElm.Evaluation.Suites;
using OpenElm.Evaluation.Tasks;

namespace OpenElm.Evaluation.Reports;

/// <summary>A checkpoint's results.</summary>
/// <param name="Name">What the table calls it.</param>
/// <param name="Step">Updates made.</param>
/// <param name="IsAverage">Whether it is the average of the run's last checkpoints.</param>
/// <param name="Report">The results.</param>
public sealed record CurvePoint(string Name, long Step, bool IsAverage, EvaluationReport Report);

/// <summary>A task over a run.</summary>
/// <param name="Title">Its heading.</param>
/// <param name="Task">The task or group.</param>
/// <param name="Metric">The metric that counts.</param>
/// <param name="Values">One for each checkpoint.</param>
public sealed record CurveLine(string Title, string Task, string Metric, ImmutableArray<MetricValue> Values);

/// <summary>The paper's Figure 1 from a run: how good each checkpoint is at each task.</summary>
/// <param name="Run">The run's name.</param>
/// <param name="Points">The checkpoints, oldest first; the average last.</param>
public sealed record TrainingCurve(string Run, ImmutableArray<CurvePoint> Points)
{
    /// <summary>A line for each column of the suites, then for each task outside them, then the suites' averages.</summary>
    public ImmutableArray<CurveLine> Lines { get; } = MakeLines(Points);

    /// <summary>What a reader must know of the data: stand-ins and tasks that were left out; the same for all checkpoints.</summary>
    public ImmutableArray<string> Remarks { get; } = [
        .. StandIn.Told(Points[0].Report.Tasks.Select(task => (task.Task, task.Group, task.Shots, task.StandIns))).Select(tasks => $"{string.Join(", ", tasks)}: {tasks.Key}."),
        .. Points[0].Report.LeftOut.Select(task => $"{task.Task} is left out: its data cannot be read.")];

    /// <summary>The table as Markdown, in the metrics' own units with standard errors.</summary>
    /// <returns>The table.</returns>
    public string ToMarkdown()
    {
        var table = new TextTable(["Checkpoint", "Iterations>", .. Lines.Select(line => $"{line.Title} ({line.Metric})>")]);
        for (int p = 0; p < Points.Length; p++)
        {
            table.Add([Points[p].Name, Points[p].Step.ToString(CultureInfo.InvariantCulture), .. Lines.Select(line =>
                ResultsTables.Number(line.Values[p].Value) + (line.Values[p].StandardError is { } error ? $" ± {ResultsTables.Number(error)}" : ""))]);
        }

        return string.Concat([table.ToString(), .. Remarks.Select(remark => $"\n{remark}\n")]);
    }

    /// <summary>The table as CSV: a row for each checkpoint and task.</summary>
    /// <returns>The text.</returns>
    public string ToCsv()
    {
        var csv = new StringBuilder("checkpoint,iterations,average,task,metric,value,stderr\n");
        for (int p = 0; p < Points.Length; p++)
        {
            foreach (CurveLine line in Lines)
            {
                csv.Append(CultureInfo.InvariantCulture, $"{Points[p].Name},{Points[p].Step},{(Points[p].IsAverage ? 1 : 0)},\"{line.Task}\",{line.Metric},{line.Values[p].Value:R},{line.Values[p].StandardError:R}\n");
            }
        }

        return csv.ToString();
    }

    static ImmutableArray<CurveLine> MakeLines(ImmutableArray<CurvePoint> points)
    {
        EvaluationReport[] reports = [.. points.Select(point => point.Report)];
        EvaluationReport first = reports[0];
        var lines = new List<CurveLine>();
        var covered = new HashSet<(string, int)>();
        for (int s = 0; s < first.Suites.Length; s++)
        {
            EvaluationSuite suite = first.Suites[s];
            SuiteResult[] rows = [.. reports.Select(report => report.SuiteRows[s])];
            for (int c = 0; c < suite.Columns.Length; c++)
            {
                SuiteColumn column = suite.Columns[c];
                if (covered.Add((column.Task, column.Shots)) && rows.All(row => row.Cells[c].Value is not null))
                {
                    lines.Add(new CurveLine(column.Title, column.Task, column.Metric, [.. rows.Select(row => row.Cells[c].Value!)]));
                }
            }

            if (rows.All(row => row.Average is not null))
            {
                lines.Add(new CurveLine($"{suite.Title} average", $"{suite.Name} average", "average", [.. rows.Select(row => new MetricValue("average", row.Average!.Value, row.StandardError))]));
            }
        }

        foreach (GroupResult group in first.Groups.Where(group => covered.Add((group.Name, group.Shots))))
        {
            lines.Add(new CurveLine(group.Name, group.Name, group.Metrics[0].Name, [.. reports.Select(report => report.Groups.First(other => other.Name == group.Name && other.Shots == group.Shots).Metrics[0])]));
        }

        for (int t = 0; t < first.Tasks.Length; t++)
        {
            if (first.Tasks[t] is { Group: null } task && covered.Add((task.Task, task.Shots)))
            {
                // acc_norm counts where a task has both, as in the paper.
                int metric = Math.Max(0, task.Metrics.ToList().FindIndex(value => value.Name == "acc_norm"));
                lines.Add(new CurveLine(task.Task, task.Task, task.Metrics[metric].Name, [.. reports.Select(report => report.Tasks[t].Metrics[metric])]));
            }
        }

        return [.. lines];
    }
}
