using System.Collections.Immutable;
using System.Text;
using System.Text.Json;
using OpenElm.Evaluation.Metrics;
using OpenElm.Evaluation.Suites;
using OpenElm.IO;

namespace OpenElm.Evaluation.Reports;

/// <summary>A folder of results: <c>results.json</c>, and <c>samples/TASK.N-shot.jsonl</c> with a line for each document.</summary>
/// <param name="Path">The folder.</param>
public sealed record ResultsFolder(string Path)
{
    const string FileName = "results.json";

    /// <summary>The document.</summary>
    public string ResultsFile => System.IO.Path.Combine(Path, FileName);

    /// <summary>Writes a report; the samples first, so that a document never speaks of samples that are not there.</summary>
    /// <param name="report">The report.</param>
    public void Write(EvaluationReport report)
    {
        ArgumentNullException.ThrowIfNull(report);
        foreach (TaskResult task in report.Tasks)
        {
            AtomicFile.Write(SamplesFile(task.Task, task.Shots), stream =>
            {
                using var writer = new StreamWriter(stream, new UTF8Encoding(false), leaveOpen: true) { NewLine = "\n" };
                foreach (ItemResult item in task.Items)
                {
                    writer.WriteLine(SampleLine.Write(task, item));
                }
            });
        }

        AtomicFile.WriteText(ResultsFile, ResultsDocument.Of(report).ToJson() + "\n");
    }

    /// <summary>Reads a folder of results with its samples.</summary>
    /// <param name="path">The folder, or its <c>results.json</c>.</param>
    /// <returns>The report.</returns>
    /// <exception cref="OpenElmException">A file is missing or damaged; file and line are named.</exception>
    public static EvaluationReport Read(string path)
    {
        var folder = new ResultsFolder(Directory.Exists(path) ? path : System.IO.Path.GetDirectoryName(System.IO.Path.GetFullPath(path))!);
        string file = Directory.Exists(path) ? folder.ResultsFile : path;
        if (!File.Exists(file))
        {
            throw new OpenElmException($"There is no results file {file}; openelm evaluate writes one with --output.");
        }

        var document = ResultsDocument.Parse(file, File.ReadAllText(file));
        return new EvaluationReport
        {
            Model = document.Model,
            Runtime = document.Runtime,
            Version = document.Version,
            Date = document.Date,
            Seed = document.Seed,
            Limit = document.Limit,
            LeftOut = document.LeftOut,
            MaxLength = document.MaxLength,
            Cost = document.Cost,
            Seconds = document.Seconds,
            Suites = [.. document.Suites.Select(suite => EvaluationSuite.Find(suite.Name))],
            Tasks = [.. document.Tasks.Select(folder.ReadTask)],
        };
    }

    TaskResult ReadTask(ResultsDocument.Entry task)
    {
        string file = SamplesFile(task.Name, task.Shots);
        if (!File.Exists(file))
        {
            throw new OpenElmException($"There is no {file}; the samples lie beside {FileName}.");
        }

        ImmutableArray<string> metrics = [.. task.Metrics.Select(metric => metric.Name)];
        var items = ImmutableArray.CreateBuilder<ItemResult>(task.Documents);
        foreach (string line in File.ReadLines(file))
        {
            try
            {
                items.Add(SampleLine.Read(line, metrics));
            }
            catch (Exception e) when (e is JsonException or OpenElmException or NullReferenceException or IndexOutOfRangeException)
            {
                throw new OpenElmException($"{file}, line {items.Count + 1} is no sample of openelm evaluate: {e.Message}", e);
            }
        }

        return items.Count == task.Documents
            ? new TaskResult(task.Name, task.Group, task.Shots, [.. task.Metrics.Select(metric => new MetricValue(metric.Name, metric.Value, metric.Stderr))], items.ToImmutable()) { StandIns = task.StandIns }
            : throw new OpenElmException($"{file} has {items.Count} lines; {FileName} counts {task.Documents} documents.");
    }

    string SamplesFile(string task, int shots) => System.IO.Path.Combine(Path, "samples", $"{task}.{shots}-shot.jsonl");
}
