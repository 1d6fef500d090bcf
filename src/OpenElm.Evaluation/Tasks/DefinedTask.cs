using System.Collections.Immutable;
using OpenElm.Data.Rows;
using OpenElm.Evaluation.Data;
using OpenElm.Evaluation.Sampling;

namespace OpenElm.Evaluation.Tasks;

/// <summary>A task as its definition says.</summary>
internal sealed class DefinedTask : IEvaluationTask
{
    readonly TaskTemplates _templates;

    public DefinedTask(TaskDefinition definition) => (Definition, _templates) = (definition, new TaskTemplates(definition));

    /// <summary>What it is made of.</summary>
    public TaskDefinition Definition { get; }

    public string Name => Definition.Task;

    public string? Group => Definition.Group;

    public RequestKind Kind => Definition.Text is not null ? RequestKind.WholeText : Definition.AnswerPattern is not null ? RequestKind.Generation : RequestKind.Continuation;

    public GenerationSettings? Generation => Kind == RequestKind.Generation ? Definition.Generation ?? new GenerationSettings() : null;

    public bool RecognizesSpecialPieces => Definition.SpecialPieces;

    public ImmutableArray<string> Metrics => Definition.Metrics;

    public int ShotsWith(ItemOptions options) => Definition.ShotsAreFixed ? Definition.Shots : options.Shots ?? Definition.Shots;

    public PreparedTask Prepare(EvaluationData data, ItemOptions options)
    {
        int shots = ShotsWith(options);
        if (shots < 0 || (shots > 0 && Kind == RequestKind.WholeText) || options.Limit <= 0)
        {
            throw new OpenElmException(
                options.Limit <= 0 ? $"The limit of documents is {options.Limit}; it must be at least 1."
                : shots < 0 ? $"The number of examples is {shots}; it must be at least 0."
                : $"{Name} scores whole texts and takes no examples; ask for 0.");
        }

        if (!Directory.Exists(data.Root))
        {
            throw new OpenElmException($"The data folder {data.Root} does not exist; name it with --data or the variable {EvaluationData.EnvironmentVariable}.");
        }

        var evaluated = EvaluatedRows.Read(data, Definition, options.AllowStandIns);
        ImmutableArray<DataRow> rows = PreparedRows.Of(evaluated.Rows, Definition.Prepare);
        FewshotExamples? examples = shots == 0 ? null : FewshotExamples.Read(data, Definition, _templates, evaluated, rows, shots, options);
        return new PreparedTask(this, shots, [.. Chosen(rows.Length, options.Limit).Select(i => Item(i, rows[i], examples))])
        {
            StandIns = [.. new[] { evaluated.StandIn, examples?.StandIn }.OfType<StandIn>()],
        };
    }

    IEnumerable<int> Chosen(int count, int? limit)
    {
        int[] order = [.. Enumerable.Range(0, count)];
        if (limit is not { } most || most >= count)
        {
            return order;
        }

        if (Definition.LimitSeed is { } seed)
        {
            new MersenneTwister(seed).Shuffle<int>(order);
        }

        return order[..most].Order();
    }

    EvaluationItem Item(int id, DataRow row, FewshotExamples? examples)
    {
        Document document = _templates.Apply(row);
        string before = document.Description + examples?.Before(row);
        return new EvaluationItem
        {
            DocumentId = id,
            Requests = [.. document.Requests.Select(request => request with { Context = before + request.Context })],
            Choices = document.Choices,
            Gold = document.Gold,
            Expected = document.Expected,
            TrueChoices = document.TrueChoices,
            Size = document.Size,
        };
    }
}
