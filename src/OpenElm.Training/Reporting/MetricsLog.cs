using System.Collections.Immutable;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;
using OpenElm.IO;

namespace OpenElm.Training.Reporting;

/// <summary>
/// Writes a run's numbers as JSON lines, <c>{"kind": "step", "step": 1, "loss": …}</c>, one write a line, so that a killed
/// process leaves at most one torn line. Checkpoints and the end also reach the disk itself.
/// </summary>
public sealed class MetricsLog : IRunObserver, IDisposable
{
    static readonly JsonSerializerOptions Format = new()
    {
        TypeInfoResolver = new DefaultJsonTypeInfoResolver(),
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals, // an infinite loss must be logged, not crash the log
        Converters = { new JsonStringEnumConverter(JsonNamingPolicy.SnakeCaseLower), new SecondsConverter() },
    };

    readonly FileStream _file;

    MetricsLog(FileStream file) => _file = file;

    /// <summary>Opens a log, new or to be continued.</summary>
    /// <param name="path">The file; its folder is created.</param>
    /// <param name="stepsDone">
    /// Where the run goes on: later lines, written after the checkpoint that was resumed from, are dropped, as is a torn last
    /// line. 0 begins anew.
    /// </param>
    /// <returns>The open log.</returns>
    public static MetricsLog Open(string path, long stepsDone = 0)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(Path.GetFullPath(path))!);
        if (File.Exists(path))
        {
            string[] kept = stepsDone == 0 ? [] : [.. WholeLines(path).Where(line => StepOf(line) <= stepsDone)];
            AtomicFile.WriteText(path, string.Concat(kept.Select(line => line + "\n")));
        }

        return new MetricsLog(new FileStream(path, FileMode.Append, FileAccess.Write, FileShare.Read, bufferSize: 0));
    }

    /// <summary>Reads the steps and validations of a log back, for the report of a run that was resumed.</summary>
    /// <param name="path">The file.</param>
    /// <returns>Both in the order of the file.</returns>
    public static (IReadOnlyList<StepMetrics> Steps, IReadOnlyList<ValidationMetrics> Validations) Read(string path)
    {
        var steps = new List<StepMetrics>();
        var validations = new List<ValidationMetrics>();
        foreach (string line in WholeLines(path))
        {
            switch (KindOf(line))
            {
                case "step":
                    steps.Add(JsonSerializer.Deserialize<StepMetrics>(line, Format)! with { Measured = MeasuredIn<StepMetrics>(line) });
                    break;
                case "validation":
                    validations.Add(JsonSerializer.Deserialize<ValidationMetrics>(line, Format)! with { Measured = MeasuredIn<ValidationMetrics>(line) });
                    break;
            }
        }

        return (steps, validations);
    }

    /// <inheritdoc/>
    public void OnStart(RunInfo run) => Write("start", run, run.StepsDone);

    /// <inheritdoc/>
    public void OnStep(StepMetrics step) => Write("step", step, measured: step.Measured);

    /// <inheritdoc/>
    public void OnValidation(ValidationMetrics validation) => Write("validation", validation, measured: validation.Measured);

    /// <inheritdoc/>
    public void OnCheckpoint(CheckpointSaved checkpoint)
    {
        Write("checkpoint", checkpoint);
        _file.Flush(flushToDisk: true);
    }

    /// <inheritdoc/>
    public void OnSample(GeneratedSample sample) => Write("sample", sample);

    /// <inheritdoc/>
    public void OnMessage(string message) => Write("message", new { Message = message });

    /// <inheritdoc/>
    public void OnEnd(RunEnd end)
    {
        Write("end", end);
        _file.Flush(flushToDisk: true);
    }

    /// <inheritdoc/>
    public void Dispose() => _file.Dispose();

    void Write<T>(string kind, T entry, long? step = null, ImmutableArray<MeasuredValue> measured = default)
    {
        string body = JsonSerializer.Serialize(entry, Format);
        string head = step is null ? $$"""{"kind":"{{kind}}",""" : $$"""{"kind":"{{kind}}","step":{{step}},""";
        string tail = string.Concat((measured.IsDefault ? [] : measured).Select(value => $"""
            ,"{value.Name}":{JsonSerializer.Serialize(value.Value, Format)}
            """));
        _file.Write(Encoding.UTF8.GetBytes($"{head}{body.AsSpan(1, body.Length - 2)}{tail}}}\n"));
    }

    /// <summary>The fields of a line that are not the record's own.</summary>
    static ImmutableArray<MeasuredValue> MeasuredIn<T>(string line)
    {
        HashSet<string> own = ["kind", .. Format.GetTypeInfo(typeof(T)).Properties.Select(property => property.Name)];
        using JsonDocument entry = JsonDocument.Parse(line);
        return [.. entry.RootElement.EnumerateObject().Where(field => !own.Contains(field.Name)).Select(field => new MeasuredValue(field.Name, field.Value.Deserialize<double>(Format)))];
    }

    /// <summary>The lines that end in a line break; a process killed while writing leaves one that does not.</summary>
    static string[] WholeLines(string path)
    {
        string text = File.ReadAllText(path);
        return text[..(text.LastIndexOf('\n') + 1)].Split('\n', StringSplitOptions.RemoveEmptyEntries);
    }

    static string? KindOf(string line)
    {
        using JsonDocument entry = JsonDocument.Parse(line);
        return entry.RootElement.GetProperty("kind").GetString();
    }

    /// <summary>The step of a line; messages have none and are always kept.</summary>
    static long StepOf(string line)
    {
        using JsonDocument entry = JsonDocument.Parse(line);
        return entry.RootElement.TryGetProperty("step", out JsonElement step) ? step.GetInt64() : 0;
    }

    sealed class SecondsConverter : JsonConverter<TimeSpan>
    {
        public override TimeSpan Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) => TimeSpan.FromSeconds(reader.GetDouble());

        public override void Write(Utf8JsonWriter writer, TimeSpan value, JsonSerializerOptions options) => writer.WriteNumberValue(value.TotalSeconds);
    }
}
