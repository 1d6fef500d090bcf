using System.Collections.Immutable;
using OpenElm.Evaluation.Data;

namespace OpenElm.Evaluation.Tasks;

/// <summary>How the items of a task are made.</summary>
public sealed record ItemOptions
{
    /// <summary>Solved examples before each question; null takes the task's own number.</summary>
    public int? Shots { get; init; }

    /// <summary>The first so many documents only; null takes all.</summary>
    public int? Limit { get; init; }

    /// <summary>Of the generator that draws examples, one for each task: Python's <c>random.Random(seed)</c>.</summary>
    public int Seed { get; init; } = 1234;

    /// <summary>
    /// Whether other data may stand in for official ones that are missing: the validation split (or files that the task names) for the evaluated documents,
    /// and these (never the document itself) for the examples. Each stand-in is told in <see cref="PreparedTask.StandIns"/>; without this it is an error.
    /// </summary>
    public bool AllowStandIns { get; init; }
}

/// <summary>A task of lm-evaluation-harness: documents become requests, their scores become metrics.</summary>
public interface IEvaluationTask
{
    /// <summary>The harness' name: <c>arc_easy</c>, <c>mmlu_anatomy</c>.</summary>
    string Name { get; }

    /// <summary>The group it is averaged in, weighted by documents: <c>mmlu</c>; null for most.</summary>
    string? Group { get; }

    /// <summary>What is asked of the model.</summary>
    RequestKind Kind { get; }

    /// <summary>The metrics by the harness' names: <c>acc</c>, <c>acc_norm</c>, <c>mc1</c>, <c>mc2</c>, <c>pct_stereotype</c>, <c>word_perplexity</c>, …</summary>
    ImmutableArray<string> Metrics { get; }

    /// <summary>How answers are written; null unless <see cref="Kind"/> is <see cref="RequestKind.Generation"/>.</summary>
    GenerationSettings? Generation => null;

    /// <summary>Whether <c>&lt;/s&gt;</c> and the like in its texts are tokens, as chat templates mean them; the harness' tasks have none.</summary>
    bool RecognizesSpecialPieces => false;

    /// <summary>How many examples stand before each question: some tasks have a fixed number.</summary>
    /// <param name="options">What was asked for.</param>
    /// <returns>The number.</returns>
    int ShotsWith(ItemOptions options) => options.Shots ?? 0;

    /// <summary>Reads the documents and makes the items, in the order of the file.</summary>
    /// <param name="data">Where the data are.</param>
    /// <param name="options">How.</param>
    /// <returns>The items, and what stands in for missing data.</returns>
    /// <exception cref="OpenElmException">A file or column is missing, or a row is wrong; the message names file and row.</exception>
    PreparedTask Prepare(EvaluationData data, ItemOptions options);
}
