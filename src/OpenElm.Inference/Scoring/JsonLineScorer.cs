using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace OpenElm.Inference.Scoring;

/// <summary>
/// Scores lines of JSON: <c>{"tokens": […]}</c>, <c>{"text": "…"}</c> or <c>{"context": "…", "continuation": "…"}</c>. Each
/// comes back with <c>logprobs</c>, <c>sum</c> and <c>is_greedy</c>; its other keys stay.
/// </summary>
/// <param name="scorer">The scorer.</param>
public sealed class JsonLineScorer(Scorer scorer)
{
    static readonly string[] Kinds = ["tokens", "text", "continuation"];

    static readonly JsonSerializerOptions Readable = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>Scores one line.</summary>
    /// <param name="line">A JSON object.</param>
    /// <returns>The object with its score.</returns>
    /// <exception cref="OpenElmException">The line is none of the three forms, or cannot be scored.</exception>
    public (JsonObject Line, Score Score) ScoreLine(string line)
    {
        JsonObject fields = Parse(line);
        Score score = Kind(fields) switch
        {
            "tokens" => scorer.ScoreTokens(Tokens(fields["tokens"])),
            "text" => scorer.ScoreText(Text(fields, "text")),
            _ => scorer.ScoreContinuation(Text(fields, "context"), Text(fields, "continuation")),
        };
        fields["logprobs"] = new JsonArray([.. score.LogProbabilities.Select(value => JsonValue.Create(value))]);
        fields["sum"] = score.Sum;
        fields["is_greedy"] = score.IsGreedy;
        return (fields, score);
    }

    /// <summary>Writes a scored line; text stays readable.</summary>
    /// <param name="line">The object.</param>
    /// <returns>One line of JSON.</returns>
    public static string Write(JsonObject line)
    {
        ArgumentNullException.ThrowIfNull(line);
        return line.ToJsonString(Readable);
    }

    static JsonObject Parse(string line)
    {
        try
        {
            return JsonNode.Parse(line) as JsonObject ?? throw new OpenElmException("The line is no JSON object.");
        }
        catch (Exception e) when (e is JsonException or ArgumentException)
        {
            throw new OpenElmException($"The line is not valid JSON: {e.Message}", e);
        }
    }

    static string Kind(JsonObject fields)
    {
        string[] kinds = [.. Kinds.Where(fields.ContainsKey)];
        return kinds is [var kind] && (kind == "continuation") == fields.ContainsKey("context")
            ? kind
            : throw new OpenElmException("The line must hold either \"tokens\", or \"text\", or \"context\" and \"continuation\".");
    }

    static string Text(JsonObject fields, string key) => fields[key] is JsonValue value && value.TryGetValue(out string? text)
        ? text
        : throw new OpenElmException($"\"{key}\" must be a string.");

    /// <summary>Reads a list of token ids.</summary>
    /// <param name="node">A JSON array.</param>
    /// <returns>[seq].</returns>
    /// <exception cref="OpenElmException">It is no list of whole numbers.</exception>
    internal static int[] Tokens(JsonNode? node)
    {
        var tokens = new List<int>();
        foreach (JsonNode? item in node as JsonArray ?? throw new OpenElmException("\"tokens\" must be a list of ids."))
        {
            tokens.Add(item is JsonValue value && value.TryGetValue(out int id) ? id : throw new OpenElmException($"\"tokens\" holds {item?.ToJsonString() ?? "null"}; ids are whole numbers."));
        }

        return [.. tokens];
    }
}
