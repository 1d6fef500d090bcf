using System.Text.Json;
using System.Text.Json.Nodes;

namespace OpenElm.Inference.Scoring;

/// <summary>What <c>openelm perplexity</c> reads: a text file is one text; a <c>.jsonl</c> file is one text, or one list of ids, a line.</summary>
public static class PerplexityLines
{
    /// <summary>Measures a file.</summary>
    /// <param name="path">A <c>.jsonl</c> file of <c>{"text": "…"}</c> or <c>{"tokens": […]}</c>, or any text in UTF-8.</param>
    /// <param name="meter">What measures.</param>
    /// <param name="progress">Told after each text how many there were so far, with their sums.</param>
    /// <param name="cancellation">Stops between two windows.</param>
    /// <returns>The sums over all texts, and how many there were.</returns>
    /// <exception cref="OpenElmException">The file is missing or holds something else; file and line are named.</exception>
    public static (Perplexity Total, int Texts) Measure(string path, PerplexityMeter meter, Action<int, Perplexity>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(meter);
        if (!File.Exists(path))
        {
            throw new OpenElmException($"There is no file {path}.");
        }

        if (!path.EndsWith(".jsonl", StringComparison.OrdinalIgnoreCase))
        {
            return (meter.MeasureText(File.ReadAllText(path), cancellation), 1);
        }

        Perplexity? total = null;
        int texts = 0;
        foreach (string line in File.ReadLines(path))
        {
            texts++;
            try
            {
                Perplexity one = MeasureLine(line, meter, cancellation);
                total = total is { } sums ? sums + one : one;
            }
            catch (OpenElmException e)
            {
                throw new OpenElmException($"{path}, line {texts}: {e.Message}", e);
            }

            progress?.Invoke(texts, total.Value);
        }

        return (total ?? throw new OpenElmException($"{path} is empty; there is nothing to measure."), texts);
    }

    static Perplexity MeasureLine(string line, PerplexityMeter meter, CancellationToken cancellation)
    {
        JsonObject? fields;
        try
        {
            fields = JsonNode.Parse(line) as JsonObject;
        }
        catch (JsonException e)
        {
            throw new OpenElmException($"The line is not valid JSON: {e.Message}", e);
        }

        return fields?["text"] is JsonValue value && value.TryGetValue(out string? text) ? meter.MeasureText(text, cancellation)
            : fields?["tokens"] is JsonArray tokens ? meter.MeasureTokens(JsonLineScorer.Tokens(tokens), cancellation)
            : throw new OpenElmException("The line must hold \"text\" (a string) or \"tokens\" (a list of ids).");
    }
}
