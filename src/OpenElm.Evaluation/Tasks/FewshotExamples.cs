using System.Collections.Immutable;
using OpenElm.Data.Rows;
using OpenElm.Evaluation.Data;
using OpenElm.Evaluation.Sampling;

namespace OpenElm.Evaluation.Tasks;

/// <summary>
/// Draws the solved examples that stand before a question, exactly as the harness does. Asked once for each document, in their order: a random rule goes on
/// in its generator.
/// </summary>
internal sealed class FewshotExamples
{
    readonly TaskDefinition _task;
    readonly ImmutableArray<DataRow> _rows;
    readonly Func<int, string> _solved;
    readonly MersenneTwister _random;
    readonly int _shots, _drawn;

    FewshotExamples(TaskDefinition task, TaskTemplates templates, ImmutableArray<DataRow> rows, int shots, int drawn, int seed)
    {
        (_task, _rows, _shots, _drawn, _random) = (task, rows, shots, drawn, new MersenneTwister(seed));
        string?[] solved = new string?[rows.Length]; // examples are drawn many times
        _solved = i => solved[i] ??= templates.Apply(rows[i]).Solved;
    }

    /// <summary>Says that the examples are not the official ones; null where they are.</summary>
    public StandIn? StandIn { get; private init; }

    /// <summary>Reads the examples of a task.</summary>
    /// <param name="data">The data folder.</param>
    /// <param name="task">The task.</param>
    /// <param name="templates">Its templates.</param>
    /// <param name="evaluated">Where the documents that are asked come from.</param>
    /// <param name="asked">These documents, prepared.</param>
    /// <param name="shots">How many examples stand before each, at least 1.</param>
    /// <param name="options">The seed, and whether the documents themselves may stand in for a missing split.</param>
    /// <returns>The examples.</returns>
    public static FewshotExamples Read(
        EvaluationData data, TaskDefinition task, TaskTemplates templates, EvaluatedRows evaluated, ImmutableArray<DataRow> asked, int shots, ItemOptions options)
    {
        bool isOwn = task.ExampleSplit == task.EvaluatedSplit, isMissing = !isOwn && task.ExampleSplit != evaluated.Split && !SplitFiles.Exist(data, task, task.ExampleSplit);
        if (isMissing && !options.AllowStandIns)
        {
            throw SplitFiles.Missing(data, task, task.ExampleSplit, "the evaluated documents (never the document itself)");
        }

        bool isBorrowed = isMissing || (!isOwn && task.ExampleSplit == evaluated.Split);
        ImmutableArray<DataRow> rows = isOwn || isBorrowed ? asked : PreparedRows.Of(SplitFiles.Read(data, task, task.ExampleSplit), task.Prepare);
        int drawn = isBorrowed || (task.FewshotRule == FewshotRule.Random && task.DrawsOneMore) ? shots + 1 : shots;
        return drawn <= rows.Length
            ? new FewshotExamples(task, templates, rows, shots, drawn, options.Seed) { StandIn = isMissing ? new StandIn(StandInKind.Examples, task.ExampleSplit, "the evaluated documents") : null }
            : throw new OpenElmException($"{task.Task} with {shots} examples draws {drawn}, but {rows[0].File} has only {rows.Length}; ask for fewer.");
    }

    /// <summary>The examples before a document.</summary>
    /// <param name="row">The document; it is left out if it is among them.</param>
    /// <returns>The text, with the delimiter behind the last example.</returns>
    public string Before(DataRow row)
    {
        IEnumerable<int> drawn = _task.FewshotRule == FewshotRule.First ? Enumerable.Range(0, _drawn) : _random.Sample(_rows.Length, _drawn);
        IEnumerable<int> kept = drawn.Where(i => !_rows[i].HasSameValues(row)).Take(_shots);
        return string.Join(_task.FewshotDelimiter, kept.Select(_solved)) + _task.FewshotDelimiter;
    }
}
