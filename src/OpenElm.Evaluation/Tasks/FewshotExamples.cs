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

    /// <summary>Reads the examples of a task.</summary>
    /// <param name="data">The data folder.</param>
    /// <param name="task">The task.</param>
    /// <param name="templates">Its templates.</param>
    /// <param name="evaluated">The documents that are asked.</param>
    /// <param name="shots">How many examples stand before each, at least 1.</param>
    /// <param name="options">The seed, and whether the documents themselves may stand in for a missing split.</param>
    /// <returns>The examples.</returns>
    public static FewshotExamples Read(EvaluationData data, TaskDefinition task, TaskTemplates templates, ImmutableArray<DataRow> evaluated, int shots, ItemOptions options)
    {
        bool standIn = task.ExampleSplit != task.EvaluatedSplit && options.ExamplesFromEvaluatedSplit && !SplitFiles.Exist(data, task, task.ExampleSplit);
        ImmutableArray<DataRow> rows = standIn || task.ExampleSplit == task.EvaluatedSplit ? evaluated
            : PreparedRows.Of(SplitFiles.Read(data, task, task.ExampleSplit), task.Prepare);
        bool oneMore = task.FewshotRule == FewshotRule.Random && (standIn || task.DrawsOneMore);
        int drawn = oneMore ? shots + 1 : shots;
        return drawn <= rows.Length
            ? new FewshotExamples(task, templates, rows, shots, drawn, options.Seed)
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
