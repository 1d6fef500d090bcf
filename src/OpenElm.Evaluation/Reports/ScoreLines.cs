using System.Collections.Immutable;
using System.Text.Json;
using System.Text.Json.Serialization;
using OpenElm.Evaluation.Tasks;
using OpenElm.Scoring;

namespace OpenElm.Evaluation.Reports;

/// <summary>
/// Scores that another engine gave to the requests of <c>--write-out</c>: lines of
/// <c>{"task", "doc_id", "idx", "logprob", "is_greedy"}</c>, in any order, one for each request.
/// </summary>
public sealed class ScoreLines
{
    const int Named = 5;
    const double Rounding = 1e-5; // a certain token may come out a little above 0 in single precision

    readonly string _path;
    readonly Dictionary<(string Task, int Document, int Index), ContinuationScore> _scores = [];

    ScoreLines(string path) => _path = path;

    /// <summary>Reads a file of scores.</summary>
    /// <param name="path">The file.</param>
    /// <returns>The scores.</returns>
    /// <exception cref="OpenElmException">A line is no score, or scores a request again; all such lines are told, the first few by number.</exception>
    public static ScoreLines Read(string path)
    {
        if (!File.Exists(path))
        {
            throw new OpenElmException($"There is no file of scores {path}.");
        }

        var scores = new ScoreLines(path);
        var problems = new List<string>();
        int number = 0;
        foreach (string text in File.ReadLines(path))
        {
            number++;
            if (scores.Add(text) is { } problem)
            {
                problems.Add($"line {number} {problem}");
            }
        }

        return problems is [] ? scores : throw OpenElmException.Of($"{path} is no file of scores", FirstFew(problems));
    }

    /// <summary>Takes the scores of tasks.</summary>
    /// <param name="tasks">Each task's name and documents; together all that the file may score.</param>
    /// <returns>For each task, for each document, one score for each request.</returns>
    /// <exception cref="OpenElmException">Requests have no score, or scores no request; the first few are named.</exception>
    public ImmutableArray<ImmutableArray<ImmutableArray<ContinuationScore>>> Of(IReadOnlyCollection<(string Task, ImmutableArray<EvaluationItem> Items)> tasks)
    {
        ArgumentNullException.ThrowIfNull(tasks);
        var missing = new List<string>();
        var unknown = new HashSet<(string Task, int Document, int Index)>(_scores.Keys);
        ImmutableArray<ImmutableArray<ImmutableArray<ContinuationScore>>> found = [.. tasks.Select(task => task.Items.Select(
            item => item.Requests.Select((_, i) => Take(task.Task, item.DocumentId, i)).ToImmutableArray()).ToImmutableArray())];
        string[] problems = [
            .. Told("requests have no score", missing),
            .. Told("scores belong to no request", [.. unknown.Select(Name)])];
        return problems is [] ? found : throw OpenElmException.Of($"{_path} does not fit the requests", problems);

        ContinuationScore Take(string task, int document, int index)
        {
            unknown.Remove((task, document, index));
            if (_scores.TryGetValue((task, document, index), out ContinuationScore score))
            {
                return score;
            }

            missing.Add(Name((task, document, index)));
            return default;
        }
    }

    string? Add(string text)
    {
        Line? line;
        try
        {
            line = JsonSerializer.Deserialize<Line>(text, Line.Json);
        }
        catch (JsonException e)
        {
            return $"cannot be read: {e.Message}";
        }

        return line is null ? "is no object"
            : !(line.Logprob <= Rounding) || double.IsInfinity(line.Logprob) ? $"has the log-probability {line.Logprob}; it must be a number of 0 or less"
            : _scores.TryAdd((line.Task, line.DocId, line.Idx), new ContinuationScore(line.Logprob, line.IsGreedy)) ? null
            : $"scores {Name((line.Task, line.DocId, line.Idx))} again";
    }

    static IEnumerable<string> Told(string what, List<string> names) => names is [] ? [] : [$"{names.Count} {what}: {string.Join("; ", FirstFew(names))}"];

    static string[] FirstFew(List<string> all) => all.Count <= Named ? [.. all] : [.. all.Take(Named), $"and {all.Count - Named} more"];

    static string Name((string Task, int Document, int Index) key) => $"{key.Task} document {key.Document} request {key.Index}";

    sealed record Line
    {
        public static readonly JsonSerializerOptions Json = new(JsonSerializerOptions.Strict)
        {
            PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
            UnmappedMemberHandling = JsonUnmappedMemberHandling.Skip, // engines may add what they like
        };

        public required string Task { get; init; }

        public required int DocId { get; init; }

        public required int Idx { get; init; }

        public required double Logprob { get; init; }

        public required bool IsGreedy { get; init; }
    }
}
