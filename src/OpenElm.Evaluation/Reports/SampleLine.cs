using System.Collections.Immutable;
using System.Text.Json;
using System.Text.Json.Serialization;
using OpenElm.Evaluation.Metrics;
using OpenElm.Scoring;

namespace OpenElm.Evaluation.Reports;

/// <summary>A document in the per-sample log: its scores and what they count.</summary>
/// <param name="DocId">The row of the data.</param>
/// <param name="Logprobs">One for each request.</param>
/// <param name="IsGreedy">One for each request.</param>
/// <param name="Metrics">The document's part of each metric; of a perplexity, the log-probability.</param>
/// <param name="Words">Of a whole text.</param>
/// <param name="Bytes">Of a whole text.</param>
internal sealed record SampleLine(int DocId, ImmutableArray<double> Logprobs, ImmutableArray<bool> IsGreedy, ImmutableDictionary<string, double> Metrics, int? Words, int? Bytes)
{
    static readonly JsonSerializerOptions Json = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
    };

    public static string Write(TaskResult task, ItemResult item) => JsonSerializer.Serialize(
        new SampleLine(
            item.DocumentId, [.. item.Scores.Select(score => score.LogProbability)], [.. item.Scores.Select(score => score.IsGreedy)],
            task.Metrics.Select((metric, i) => KeyValuePair.Create(metric.Name, item.Values[i])).ToImmutableDictionary(),
            item.Size.Bytes == 0 ? null : item.Size.Words, item.Size.Bytes == 0 ? null : item.Size.Bytes),
        Json);

    public static ItemResult Read(string line, ImmutableArray<string> metrics)
    {
        SampleLine sample = JsonSerializer.Deserialize<SampleLine>(line, Json) ?? throw new OpenElmException("the line is empty.");
        if (metrics.FirstOrDefault(metric => !sample.Metrics.ContainsKey(metric)) is { } missing)
        {
            throw new OpenElmException($"the line has no metric '{missing}'.");
        }

        return new ItemResult(
            sample.DocId, [.. sample.Logprobs.Select((logprob, i) => new ContinuationScore(logprob, sample.IsGreedy[i]))], [.. metrics.Select(metric => sample.Metrics[metric])])
        { Size = (sample.Words ?? 0, sample.Bytes ?? 0) };
    }
}
