using System.Collections.Immutable;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;
using OpenElm.Evaluation.Engine;
using OpenElm.Evaluation.Metrics;
using OpenElm.Evaluation.Suites;
using OpenElm.Evaluation.Tasks;

namespace OpenElm.Evaluation.Reports;

/// <summary>The machine-readable form of a report: <c>results.json</c>, and what <c>--json</c> prints.</summary>
public sealed record ResultsDocument
{
    /// <summary>The only form so far.</summary>
    public const string CurrentFormat = "openelm-evaluation-1";

    /// <summary>Names the form of the document.</summary>
    public required string Format { get; init; }

    /// <summary>The model as the user named it.</summary>
    public required string Model { get; init; }

    /// <summary>What computed the scores.</summary>
    public required string Runtime { get; init; }

    /// <summary>The program's version.</summary>
    public required string Version { get; init; }

    /// <summary>When it ended, in UTC.</summary>
    public required DateTimeOffset Date { get; init; }

    /// <summary>Seed of the examples.</summary>
    public required int Seed { get; init; }

    /// <summary>Documents of each task; null means all.</summary>
    public required int? Limit { get; init; }

    /// <summary>The tasks.</summary>
    public required ImmutableArray<Entry> Tasks { get; init; }

    /// <summary>The groups.</summary>
    public required ImmutableArray<Entry> Groups { get; init; }

    /// <summary>The suites' averages.</summary>
    public required ImmutableArray<SuiteEntry> Suites { get; init; }

    /// <summary>Tasks that were asked for and left out, with the reason.</summary>
    public required ImmutableArray<LeftOutTask> LeftOut { get; init; }

    /// <summary>Tokens that the model takes; null where another engine gave the scores.</summary>
    public required int? MaxLength { get; init; }

    /// <summary>What the scores cost; null where another engine gave them.</summary>
    public EngineCounts? Cost { get; init; }

    /// <summary>Seconds that scoring took.</summary>
    public double? Seconds { get; init; }

    /// <summary>A task or a group.</summary>
    /// <param name="Name">Its name.</param>
    /// <param name="Group">The group a task belongs to.</param>
    /// <param name="Shots">Solved examples before each question.</param>
    /// <param name="Documents">How many documents.</param>
    /// <param name="Truncated">Documents whose beginning was cut off because the model takes fewer tokens.</param>
    /// <param name="Unanswered">Written texts in which no answer was found; they count as wrong.</param>
    /// <param name="Metrics">Over all of them.</param>
    /// <param name="StandIns">What stands in for missing data.</param>
    public sealed record Entry(string Name, string? Group, int Shots, int Documents, int Truncated, int Unanswered, ImmutableArray<MetricEntry> Metrics, ImmutableArray<StandIn> StandIns);

    /// <summary>A metric.</summary>
    /// <param name="Name">The harness' name.</param>
    /// <param name="Value">The value.</param>
    /// <param name="Stderr">Its standard error.</param>
    public sealed record MetricEntry(string Name, double Value, double? Stderr);

    /// <summary>A suite.</summary>
    /// <param name="Name">Its name.</param>
    /// <param name="Average">The mean of all columns; null while one is missing.</param>
    /// <param name="Stderr">Its standard error.</param>
    /// <param name="PartialAverage">The mean of those columns that have a value.</param>
    /// <param name="Columns">The columns.</param>
    public sealed record SuiteEntry(string Name, double? Average, double? Stderr, double? PartialAverage, ImmutableArray<ColumnEntry> Columns);

    /// <summary>A suite's column.</summary>
    /// <param name="Title">The paper's heading.</param>
    /// <param name="Task">The task or group.</param>
    /// <param name="Shots">Solved examples.</param>
    /// <param name="Metric">The metric that counts.</param>
    /// <param name="Value">Its value; null where the task was not run, or not all tasks of a group.</param>
    /// <param name="Stderr">Its standard error.</param>
    /// <param name="StandIns">What stands in for missing data.</param>
    public sealed record ColumnEntry(string Title, string Task, int Shots, string Metric, double? Value, double? Stderr, ImmutableArray<StandIn> StandIns);

    static readonly JsonSerializerOptions Json = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        WriteIndented = true,
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
        Converters = { new JsonStringEnumConverter(JsonNamingPolicy.SnakeCaseLower) },
        NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals, // a perplexity may be infinite
    };

    /// <summary>Makes the document of a report.</summary>
    /// <param name="report">The report.</param>
    /// <returns>The document.</returns>
    public static ResultsDocument Of(EvaluationReport report)
    {
        ArgumentNullException.ThrowIfNull(report);
        return new ResultsDocument
        {
            Format = CurrentFormat,
            Model = report.Model,
            Runtime = report.Runtime,
            Version = report.Version,
            Date = report.Date,
            Seed = report.Seed,
            Limit = report.Limit,
            LeftOut = report.LeftOut,
            MaxLength = report.MaxLength,
            Cost = report.Cost,
            Seconds = report.Seconds,
            Tasks = [.. report.Tasks.Select(task => new Entry(task.Task, task.Group, task.Shots, task.Items.Length, task.Truncated, task.Unanswered, Metrics(task.Metrics), task.StandIns))],
            Groups = [.. report.Groups.Select(group => new Entry(group.Name, null, group.Shots, group.Documents, group.Truncated, group.Unanswered, Metrics(group.Metrics), group.StandIns))],
            Suites = [.. report.SuiteRows.Select(Suite)],
        };
    }

    /// <summary>Writes the document as JSON.</summary>
    /// <returns>The text.</returns>
    public string ToJson() => JsonSerializer.Serialize(this, Json);

    /// <summary>Reads a document.</summary>
    /// <param name="path">The file, for messages.</param>
    /// <param name="json">Its text.</param>
    /// <returns>The document.</returns>
    /// <exception cref="OpenElmException">It is none.</exception>
    public static ResultsDocument Parse(string path, string json)
    {
        try
        {
            return JsonSerializer.Deserialize<ResultsDocument>(json, Json) is { Format: CurrentFormat } document
                ? document
                : throw new OpenElmException($"{path} is no results file of openelm evaluate ({CurrentFormat}).");
        }
        catch (JsonException e)
        {
            throw new OpenElmException($"{path} is no results file of openelm evaluate: {e.Message}", e);
        }
    }

    static ImmutableArray<MetricEntry> Metrics(ImmutableArray<MetricValue> metrics) => [.. metrics.Select(metric => new MetricEntry(metric.Name, metric.Value, metric.StandardError))];

    static SuiteEntry Suite(SuiteResult row) => new(row.Suite.Name, row.Average, row.StandardError, row.PartialAverage, [.. row.Cells.Select(cell =>
        new ColumnEntry(cell.Column.Title, cell.Column.Task, cell.Column.Shots, cell.Column.Metric, cell.Value?.Value, cell.Value?.StandardError, cell.StandIns))]);
}
