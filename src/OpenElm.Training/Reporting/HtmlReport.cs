using System.Globalization;
using System.Net;
using System.Text;
using OpenElm.IO;

namespace OpenElm.Training.Reporting;

/// <summary>Writes a run's report as one HTML file that needs nothing else: no script, no font, no picture beside it.</summary>
public static class HtmlReport
{
    const string Style = """
        body { font: 15px/1.5 system-ui, sans-serif; color: #1b1b1b; background: #fff; max-width: 820px; margin: 2rem auto; padding: 0 1rem; }
        h1 { font-size: 1.6rem; margin-bottom: 0; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; border-bottom: 1px solid #ddd; }
        .lead { color: #555; margin-top: .2rem; } .failed { color: #a40000; font-weight: 600; }
        table { border-collapse: collapse; } td, th { padding: .15rem 1rem .15rem 0; text-align: left; vertical-align: top; } th { font-weight: 600; }
        td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
        pre { background: #f6f6f4; padding: .8rem; overflow-x: auto; white-space: pre-wrap; overflow-wrap: anywhere; font-size: 13px; }
        svg { max-width: 100%; height: auto; } .prompt { color: #777; }
        """;

    const string EvaluationBegins = "<!-- evaluation -->\n", EvaluationEnds = "<!-- /evaluation -->\n";

    /// <summary>Writes the report to a file.</summary>
    /// <param name="path">The file.</param>
    /// <param name="report">What to show.</param>
    public static void Write(string path, RunReport report) => AtomicFile.WriteText(path, Render(report));

    /// <summary>Puts an evaluation into a report that is written already, in the place of an earlier one.</summary>
    /// <param name="path">The report.</param>
    /// <param name="content">HTML that may stand in the body.</param>
    /// <returns>False if there is no report, or one of a version that has no place for it.</returns>
    public static bool SetEvaluation(string path, string content)
    {
        if (!File.Exists(path))
        {
            return false;
        }

        string html = File.ReadAllText(path);
        int begin = html.IndexOf(EvaluationBegins, StringComparison.Ordinal), end = html.IndexOf(EvaluationEnds, StringComparison.Ordinal);
        if (begin < 0 || end < begin)
        {
            return false;
        }

        AtomicFile.WriteText(path, string.Concat(html.AsSpan(0, begin + EvaluationBegins.Length), content, html.AsSpan(end)));
        return true;
    }

    /// <summary>Renders the report.</summary>
    /// <param name="report">What to show.</param>
    /// <returns>The HTML document.</returns>
    public static string Render(RunReport report)
    {
        var html = new StringBuilder();
        html.Append($"<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{Text(report.Run.Name)}</title>\n<style>\n{Style}</style></head><body>\n");
        AppendSummary(html, report);
        if (report.Steps.Length > 0)
        {
            Section(html, report.Run.Watched is [] ? "Loss (nats a token)" : "Loss", Picture(ReportCharts.Loss(report)));
            foreach (string name in report.Run.Watched)
            {
                Section(html, Text(Title(name)), Picture(ReportCharts.Measured(report, name)));
            }
        }

        AppendValidations(html, report);
        AppendRewards(html, report.RewardAccuracy);
        AppendBigram(html, report.Bigram);
        AppendSamples(html, report);
        html.Append(EvaluationBegins).Append(EvaluationEnds);
        if (report.Steps.Length > 0)
        {
            Section(html, "Learning rate", Picture(ReportCharts.LearningRate(report)));
            Section(html, "Gradient norm before clipping", Picture(ReportCharts.GradientNorm(report)));
            Section(html, "Tokens a second", Picture(ReportCharts.Speed(report)));
        }

        AppendFacts(html, "Timings", [.. report.Timings.Select(timing => new ReportFact(timing.Name, Durations.Format(timing.Duration)))]);
        AppendFacts(html, "Data", report.Data);
        AppendFacts(html, "Model", report.Model);
        AppendFacts(html, "Machine", [
            new("processor", $"{report.Machine.Cpu}, {report.Machine.Cores} cores"),
            new("system", report.Machine.OperatingSystem),
            new("runtime", report.Machine.Runtime),
            new("OpenElm", report.Machine.Version),
        ]);
        Section(html, "Configuration", $"<pre>{Text(report.Configuration)}</pre>");
        return html.Append("</body></html>\n").ToString();
    }

    static void AppendSummary(StringBuilder html, RunReport report)
    {
        RunInfo run = report.Run;
        html.Append($"<h1>{Text(run.Name)}</h1>\n");
        html.Append(Invariant($"<p class=\"lead\">{run.Parameters:N0} parameters · {Text(run.Device)}, {Text(run.Precision)} · {report.WrittenAt:yyyy-MM-dd HH:mm} UTC</p>\n"));
        string tokens = report.Steps is [.., var last] ? Invariant($" on {last.TokensSeen:N0} tokens") : "";
        html.Append(report.End.Outcome == RunOutcome.Completed
            ? Invariant($"<p>Completed {report.End.Step:N0} steps{tokens} in {Durations.Format(report.End.Elapsed)}.</p>\n")
            : Invariant($"<p class=\"failed\">{report.End.Outcome} after {report.End.Step:N0} of {run.TotalSteps:N0} steps: {Text(report.End.Message ?? "no reason given")}</p>\n"));
    }

    static void AppendValidations(StringBuilder html, RunReport report)
    {
        if (report.Validations.Length == 0)
        {
            return;
        }

        string[] watched = [.. report.Run.Watched];
        string[] columns = watched is [] ? ["step", "loss", "perplexity", "bits per byte", "tokens"] : ["step", "loss", .. watched.Select(Title), "tokens"];
        var rows = new StringBuilder("<table>").Append(Row("th", columns));
        foreach (ValidationMetrics v in report.Validations)
        {
            string[] measures = watched is []
                ? [Invariant($"{v.Perplexity:F2}"), Invariant($"{v.BitsPerByte:F4}")]
                : [.. watched.Select(name => Invariant($"{v.Measured.FirstOrDefault(value => value.Name == name).Value:F4}"))];
            rows.Append(Row("td", [Invariant($"{v.Step:N0}"), Invariant($"{v.Loss:F4}"), .. measures, Invariant($"{v.Tokens:N0}")]));
        }

        Section(html, watched is [] ? "Held-out text" : "Held-out pairs", rows.Append("</table>").ToString());

        static string Row(string cell, string[] texts) => $"<tr>{string.Concat(texts.Select(text => $"<{cell} class=\"number\">{Text(text)}</{cell}>"))}</tr>\n";
    }

    static void AppendRewards(StringBuilder html, Proportion? accuracy)
    {
        if (accuracy is { } known)
        {
            string verdict = known.Low > 0.5 ? "above one half" : "<span class=\"failed\">not clearly above one half</span>";
            Section(html, "Rewards on held-out pairs", Invariant(
                $"<p>The chosen response has the higher reward in {known.Share:P1} of {known.Count:N0} pairs, 95 % interval {known.Low:P1} to {known.High:P1}: {verdict}.</p>"));
        }
    }

    static void AppendBigram(StringBuilder html, BigramComparison? bigram)
    {
        if (bigram is not null)
        {
            string verdict = bigram.ModelLoss < bigram.BigramLoss ? "better" : "<span class=\"failed\">not better</span>";
            Section(html, "Against a bigram model", Invariant(
                $"<p>On the same {bigram.Tokens:N0} held-out tokens the model needs {bigram.ModelLoss:F4} nats a token and {Text(bigram.Bigram)} {bigram.BigramLoss:F4}: {verdict} by {Math.Abs(bigram.BigramLoss - bigram.ModelLoss):F4}.</p>"));
        }
    }

    static void AppendSamples(StringBuilder html, RunReport report)
    {
        if (report.Samples.Length > 0)
        {
            Section(html, "What it writes", string.Concat(report.Samples.Select(sample => Invariant(
                $"<p>After step {sample.Step:N0}:</p><pre><span class=\"prompt\">{Text(sample.Prompt)}</span>{Text(sample.Text)}</pre>\n"))));
        }
    }

    static void AppendFacts(StringBuilder html, string title, IReadOnlyList<ReportFact> facts)
    {
        if (facts.Count > 0)
        {
            Section(html, title, $"<table>{string.Concat(facts.Select(fact => $"<tr><th>{Text(fact.Name)}</th><td>{Text(fact.Value)}</td></tr>\n"))}</table>");
        }
    }

    static string Title(string name) => name.Replace('_', ' ');

    static string Picture(ReportChart chart)
    {
        string names = string.Concat(chart.Lines.Select(line => $"<span style=\"color:{line.Colour}\">■</span> {Text(line.Name)} &nbsp; "));
        return chart.Svg + (names.Length == 0 ? "" : $"\n<p class=\"lead\">{names}</p>");
    }

    static void Section(StringBuilder html, string title, string content) => html.Append($"<h2>{title}</h2>\n{content}\n");

    static string Text(string text) => WebUtility.HtmlEncode(text);

    static string Invariant(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
