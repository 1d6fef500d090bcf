using System.Collections.Immutable;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;
using OpenElm.Evaluation.Metrics;
using OpenElm.Evaluation.Tasks;
using OpenElm.Scoring;

namespace OpenElm.Evaluation.Reports;

/// <summary>A document in the per-sample log: its answer and what it counts.</summary>
internal sealed record SampleLine
{
    static readonly JsonSerializerOptions Json = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
        Converters = { new JsonStringEnumConverter(JsonNamingPolicy.SnakeCaseLower) },
    };

    /// <summary>The row of the data.</summary>
    public required int DocId { get; init; }

    /// <summary>One for each request; none where the model wrote.</summary>
    public ImmutableArray<double>? Logprobs { get; init; }

    /// <summary>One for each request; none where the model wrote.</summary>
    public ImmutableArray<bool>? IsGreedy { get; init; }

    /// <summary>The right choice.</summary>
    public int? Gold { get; init; }

    /// <summary>What the model wrote.</summary>
    public string? Text { get; init; }

    /// <summary>The answer found in it; missing if there is none.</summary>
    public string? Answer { get; init; }

    /// <summary>The right answer.</summary>
    public string? Expected { get; init; }

    /// <summary>The document's part of each metric; of a perplexity, the log-probability.</summary>
    public required ImmutableDictionary<string, double> Metrics { get; init; }

    /// <summary>Of a whole text.</summary>
    public int? Words { get; init; }

    /// <summary>Of a whole text.</summary>
    public int? Bytes { get; init; }

    /// <summary>True where the beginning was cut off because the model takes fewer tokens.</summary>
    public bool? Truncated { get; init; }

    /// <summary>Which data of the task are not the official ones; <c>results.json</c> says what was taken instead.</summary>
    public ImmutableArray<StandInKind>? StandIns { get; init; }

    public static string Write(TaskResult task, ItemResult item) => JsonSerializer.Serialize(
        new SampleLine
        {
            DocId = item.DocumentId,
            Logprobs = item.Answer.Text is null ? [.. item.Answer.Scores.Select(score => score.LogProbability)] : null,
            IsGreedy = item.Answer.Text is null ? [.. item.Answer.Scores.Select(score => score.IsGreedy)] : null,
            Gold = item.Gold < 0 ? null : item.Gold,
            Text = item.Answer.Text,
            Answer = item.Answer.Found,
            Expected = item.Expected,
            Metrics = task.Metrics.Select((metric, i) => KeyValuePair.Create(metric.Name, item.Values[i])).ToImmutableDictionary(),
            Words = item.Size.Bytes == 0 ? null : item.Size.Words,
            Bytes = item.Size.Bytes == 0 ? null : item.Size.Bytes,
            Truncated = item.Answer.IsTruncated ? true : null,
            StandIns = task.StandIns is [] ? null : [.. task.StandIns.Select(standIn => standIn.Kind)],
        },
        Json);

    public static ItemResult Read(string line, ImmutableArray<string> metrics)
    {
        SampleLine sample = JsonSerializer.Deserialize<SampleLine>(line, Json) ?? throw new OpenElmException("the line is empty.");
        if (metrics.FirstOrDefault(metric => !sample.Metrics.ContainsKey(metric)) is { } missing)
        {
            throw new OpenElmException($"the line has no metric '{missing}'.");
        }

        var answer = new ItemAnswer
        {
            Scores = [.. (sample.Logprobs ?? []).Zip(sample.IsGreedy ?? [], (logprob, isGreedy) => new ContinuationScore(logprob, isGreedy))],
            Text = sample.Text,
            Found = sample.Answer,
            IsTruncated = sample.Truncated ?? false,
        };
        return new ItemResult(sample.DocId, answer, [.. metrics.Select(metric => sample.Metrics[metric])])
        {
            Gold = sample.Gold ?? -1,
            Expected = sample.Expected,
            Size = (sample.Words ?? 0, sample.Bytes ?? 0),
        };
    }
}
