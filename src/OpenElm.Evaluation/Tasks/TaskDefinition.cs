using System.Collections.Immutable;
using System.Text.Json.Serialization;
using OpenElm.Evaluation.Metrics;
using OpenElm.Templates;

namespace OpenElm.Evaluation.Tasks;

/// <summary>Which solved examples stand before a question.</summary>
internal enum FewshotRule
{
    /// <summary>A new random sample for every document, from one generator for the task.</summary>
    Random,

    /// <summary>The first ones, for all documents the same.</summary>
    First,
}

/// <summary>
/// A task as its YAML file describes it; docs/evaluation-tasks.md explains each key. Texts in double braces are Jinja over the columns of a row.
/// Five forms: <see cref="Prompt"/> with <see cref="Choices"/> behind it; choices that end the context, with one <see cref="Continuation"/>
/// behind all; a prompt with one continuation; a whole <see cref="Text"/>; a prompt that the model answers in its own words, in which
/// <see cref="AnswerPattern"/> finds the answer.
/// </summary>
internal sealed record TaskDefinition : IValidated
{
    /// <summary>The name; <c>{variant}</c> stands for each of <see cref="Variants"/>.</summary>
    public required string Task { get; init; }

    /// <summary>The group it is averaged in.</summary>
    public string? Group { get; init; }

    /// <summary>Makes a task for each: MMLU's subjects. Templates see it as <c>variant</c>.</summary>
    public ImmutableArray<string> Variants { get; init; } = [];

    /// <summary>Folders that are searched for the splits, under the data folder; the task's name when empty.</summary>
    public ImmutableArray<string> Folders { get; init; } = [];

    /// <summary>Files of a split that is not called after itself, alternatives in order; <c>archive.zip!member</c> reads from a zip file.</summary>
    public ImmutableDictionary<string, ImmutableArray<string>> Files { get; init; } = ImmutableDictionary<string, ImmutableArray<string>>.Empty;

    /// <summary>By task: files that may stand in for the evaluated split where it is missing and the user allows it, alternatives in order.</summary>
    public ImmutableDictionary<string, ImmutableArray<string>> StandIns { get; init; } = ImmutableDictionary<string, ImmutableArray<string>>.Empty;

    /// <summary>Columns of csv files without a header.</summary>
    public ImmutableArray<string> Columns { get; init; } = [];

    /// <summary>Where examples come from, if <see cref="FewshotSplit"/> does not say.</summary>
    public string? TrainingSplit { get; init; }

    /// <summary>What is evaluated where there is no test split.</summary>
    public string? ValidationSplit { get; init; }

    /// <summary>What is evaluated.</summary>
    public string? TestSplit { get; init; }

    /// <summary>Where examples come from.</summary>
    public string? FewshotSplit { get; init; }

    /// <summary>How examples are chosen.</summary>
    public FewshotRule FewshotRule { get; init; }

    /// <summary>How rows are made ready before templates see them; null for not at all.</summary>
    public RowPreparation? Prepare { get; init; }

    /// <summary>What stands before everything.</summary>
    public string Description { get; init; } = "";

    /// <summary>The question.</summary>
    public string Prompt { get; init; } = "";

    /// <summary>A list of answers.</summary>
    public string? Choices { get; init; }

    /// <summary>What follows every choice, or the prompt.</summary>
    public string? Continuation { get; init; }

    /// <summary>A regular expression that finds the answer in what the model writes: the first match counts.</summary>
    public string? AnswerPattern { get; init; }

    /// <summary>The match that is right.</summary>
    public string? Answer { get; init; }

    /// <summary>How the model writes; null for the defaults.</summary>
    public GenerationSettings? Generation { get; init; }

    /// <summary>A whole text to be scored.</summary>
    public string? Text { get; init; }

    /// <summary>The text whose words and bytes the perplexities of <see cref="Text"/> are divided by; the text itself when null.</summary>
    public string? OriginalText { get; init; }

    /// <summary>The position of the right choice, from 0.</summary>
    public string? Target { get; init; }

    /// <summary>How many choices at the beginning are true (TruthfulQA).</summary>
    public string? TrueChoices { get; init; }

    /// <summary>Between prompt and answer.</summary>
    public string Delimiter { get; init; } = " ";

    /// <summary>Whether texts follow a chat template, in which <c>&lt;/s&gt;</c> is the token.</summary>
    public bool SpecialPieces { get; init; }

    /// <summary>Behind each example.</summary>
    public string FewshotDelimiter { get; init; } = "\n\n";

    /// <summary>The metrics.</summary>
    public required ImmutableArray<string> Metrics { get; init; }

    /// <summary>Examples before a question.</summary>
    public int Shots { get; init; }

    /// <summary>Whether other numbers of examples are set aside, as TruthfulQA does.</summary>
    public bool ShotsAreFixed { get; init; }

    /// <summary>The seed that documents are shuffled with before a limit takes the first ones; null takes the first of the file.</summary>
    public int? LimitSeed { get; init; }

    /// <summary>Where the data come from.</summary>
    public string? Source { get; init; }

    /// <summary>The licence of the data.</summary>
    public string? Licence { get; init; }

    /// <summary>The folder of the YAML file, where <see cref="Files"/> are looked for first; null for built-in tasks.</summary>
    [JsonIgnore]
    public string? Home { get; init; }

    /// <summary>The split whose documents are asked.</summary>
    [JsonIgnore]
    public string EvaluatedSplit => TestSplit ?? ValidationSplit!;

    /// <summary>The split that examples come from.</summary>
    [JsonIgnore]
    public string ExampleSplit => FewshotSplit ?? TrainingSplit ?? ValidationSplit ?? TestSplit!;

    /// <summary>
    /// Whether one more example is drawn, for the case that the document itself is among them. The harness asks whether two settings are equal,
    /// and takes them for equal where both are unset: HellaSwag and WinoGrande draw one more though their examples come from another split.
    /// </summary>
    [JsonIgnore]
    public bool DrawsOneMore => FewshotSplit == TestSplit;

    /// <inheritdoc/>
    public void Validate(string path, List<string> problems)
    {
        string At(string key) => ValidationProblems.PathOf(path, key);
        if (TestSplit is null && ValidationSplit is null)
        {
            problems.Add($"{At("test_split")} is missing, and validation_split too: one of them says which documents are asked.");
        }

        if (Task.Contains("{variant}", StringComparison.Ordinal) != Variants is not [])
        {
            problems.Add($"{At("task")} is {Task}; it must hold {{variant}} exactly when there are variants.");
        }

        if (Text is null && Choices is null && Continuation is null && AnswerPattern is null)
        {
            problems.Add($"{At("choices")} is missing: a task has choices, a continuation, a whole text, or an answer_pattern for what the model writes.");
        }

        if (AnswerPattern is not null && (Text ?? Choices ?? Continuation ?? Target ?? TrueChoices) is not null)
        {
            problems.Add($"{At("answer_pattern")} stands beside text, choices, continuation, target or true_choices: what the model writes has none of them.");
        }

        if (AnswerPattern is null != Answer is null)
        {
            problems.Add($"{At(Answer is null ? "answer" : "answer_pattern")} is missing: one finds the answer in what the model writes, the other is the right one.");
        }

        if (AnswerPattern is null && Generation is not null)
        {
            problems.Add($"{At("generation")} is for answers that the model writes; add an answer_pattern.");
        }

        if (AnswerPattern is not null && Metrics.Any(metric => metric != "acc"))
        {
            problems.Add($"{At("metrics")} must be [acc]: an answer that the model writes is right or wrong.");
        }

        if (Text is not null && (Choices ?? Continuation ?? Target) is not null)
        {
            problems.Add($"{At("text")} stands beside choices, continuation or target: whole texts have none of them.");
        }

        if (Shots < 0 || (Shots > 0 && Text is not null))
        {
            problems.Add($"{At("shots")} is {Shots}; it must be at least 0, and 0 for whole texts.");
        }

        if (Metrics is [])
        {
            problems.Add($"{At("metrics")} is empty; name at least one.");
        }

        problems.AddRange(Metrics.Where(metric => !ItemMetric.Names.Contains(metric))
            .Select(metric => $"{At("metrics")} has '{metric}'; there are {string.Join(", ", ItemMetric.Names)}."));
        string[] tasks = Variants is [] ? [Task] : [.. Variants.Select(variant => For(variant).Task)];
        problems.AddRange(StandIns.Keys.Where(task => !tasks.Contains(task)).Select(task => $"{At("stand_ins")} speaks of {task}, which is no task of this file."));

        foreach ((string key, string? template) in new[]
        {
            ("description", Description), ("prompt", Prompt), ("choices", Choices), ("continuation", Continuation),
            ("text", Text), ("original_text", OriginalText), ("target", Target), ("true_choices", TrueChoices), ("answer_pattern", AnswerPattern), ("answer", Answer),
        })
        {
            try
            {
                _ = Template.Parse(template ?? "", "It");
            }
            catch (OpenElmException wrong)
            {
                problems.Add($"{At(key)} is no valid template: {wrong.Message}");
            }
        }
    }

    /// <summary>The definition of one variant.</summary>
    /// <param name="variant">Its name.</param>
    /// <returns>A definition without variants.</returns>
    public TaskDefinition For(string variant)
    {
        string Filled(string text) => text.Replace("{variant}", variant, StringComparison.Ordinal);
        return this with
        {
            Task = Filled(Task),
            Variants = [variant],
            Folders = [.. Folders.Select(Filled)],
            Files = Files.ToImmutableDictionary(entry => entry.Key, entry => entry.Value.Select(Filled).ToImmutableArray()),
        };
    }
}
