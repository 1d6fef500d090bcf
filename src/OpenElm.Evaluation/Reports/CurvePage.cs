using System.Globalization;
using System.Net;
using System.Text;
using OpenElm.IO;

namespace OpenElm.Evaluation.Reports;

/// <summary>Writes a run's curve: one HTML page that needs nothing else, the table as CSV and Markdown, and the pictures as files.</summary>
public static class CurvePage
{
    const string Style = """
        body { font: 15px/1.5 system-ui, sans-serif; color: #1b1b1b; background: #fff; max-width: 1020px; margin: 2rem auto; padding: 0 1rem; }
        h1 { font-size: 1.6rem; margin-bottom: 0; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; border-bottom: 1px solid #ddd; }
        .lead { color: #555; margin-top: .2rem; } figcaption { font-weight: 600; }
        table { border-collapse: collapse; } td, th { padding: .15rem .8rem .15rem 0; text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
        td:first-child, th:first-child { text-align: left; } svg { max-width: 100%; height: auto; }
        """;

    /// <summary>Writes all files.</summary>
    /// <param name="curve">The run's results.</param>
    /// <param name="folder">Gets <c>evaluation.html</c>, and <c>evaluation/</c> with table and pictures.</param>
    /// <returns>The page.</returns>
    public static string Write(TrainingCurve curve, string folder)
    {
        ArgumentNullException.ThrowIfNull(curve);
        string details = Path.Combine(folder, "evaluation");
        AtomicFile.WriteText(Path.Combine(details, "evaluation.csv"), curve.ToCsv());
        AtomicFile.WriteText(Path.Combine(details, "evaluation.md"), curve.ToMarkdown());
        foreach (CurveLine line in curve.Lines)
        {
            AtomicFile.WriteText(Path.Combine(details, CurveChart.FileName(line) + ".svg"), CurveChart.ToSvg(curve, line, isDocument: true));
        }

        string page = Path.Combine(folder, "evaluation.html");
        AtomicFile.WriteText(page, Render(curve));
        return page;
    }

    /// <summary>Renders the page.</summary>
    /// <param name="curve">The run's results.</param>
    /// <returns>The HTML document.</returns>
    public static string Render(TrainingCurve curve)
    {
        ArgumentNullException.ThrowIfNull(curve);
        return $"<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{Text(curve.Run)}: evaluation</title>\n<style>\n{Style}</style></head><body>\n<h1>{Text(curve.Run)}: evaluation</h1>\n{Section(curve)}</body></html>\n";
    }

    /// <summary>Renders pictures and table as a part of another page.</summary>
    /// <param name="curve">The run's results.</param>
    /// <returns>HTML that may stand in a body.</returns>
    public static string Section(TrainingCurve curve)
    {
        ArgumentNullException.ThrowIfNull(curve);
        EvaluationReport last = curve.Points[^1].Report;
        var html = new StringBuilder();
        html.Append("<h2>Evaluation: metrics against iterations</h2>\n");
        html.Append(CultureInfo.InvariantCulture, $"<p class=\"lead\">{curve.Points.Count(point => !point.IsAverage)} checkpoints · {Text(last.Runtime)} · {(last.Limit is { } limit ? $"the first {limit} documents of each task" : "all documents")} · seed {last.Seed} · {last.Date:yyyy-MM-dd HH:mm} UTC</p>\n");
        html.Append("<p>Bars are one standard error to each side. <span style=\"color:#1f6fb2\">●</span> checkpoints");
        html.Append(curve.Points.Any(point => point.IsAverage) ? " &nbsp; <span style=\"color:#d95f02\">◆</span> average of the last checkpoints' weights</p>\n" : "</p>\n");
        html.AppendJoin("", curve.Remarks.Select(remark => $"<p>{Text(remark)}</p>\n"));
        html.Append("<div style=\"display: flex; flex-wrap: wrap; gap: 1rem\">\n");
        foreach (CurveLine line in curve.Lines)
        {
            html.Append($"<figure style=\"margin: 0\"><figcaption>{Text(line.Title)}</figcaption>{CurveChart.ToSvg(curve, line, isDocument: false)}</figure>\n");
        }

        html.Append("</div>\n<div style=\"overflow-x: auto; font-size: 13px\">\n<table><tr><th>checkpoint</th><th>iterations</th>");
        html.AppendJoin("", curve.Lines.Select(line => $"<th>{Text(line.Title)}<br>{line.Metric}</th>")).Append("</tr>\n");
        foreach ((CurvePoint point, int p) in curve.Points.Select((point, p) => (point, p)))
        {
            html.Append(CultureInfo.InvariantCulture, $"<tr><td>{Text(point.Name)}</td><td>{point.Step}</td>");
            html.AppendJoin("", curve.Lines.Select(line => $"<td>{ResultsTables.Number(line.Values[p].Value)}{(line.Values[p].StandardError is { } error ? $" ± {ResultsTables.Number(error)}" : "")}</td>"));
            html.Append("</tr>\n");
        }

        return html.Append("</table>\n</div>\n").ToString();
    }

    static string Text(string text) => WebUtility.HtmlEncode(text);
}
