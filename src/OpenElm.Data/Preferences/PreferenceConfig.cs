using System.Collections.Immutable;
using OpenElm.Data.Rows;

namespace OpenElm.Data;

/// <summary>Which pairs of responses preference tuning reads, and how they become tokens and batches. The defaults are those of openelm.md 7.1.</summary>
public sealed record PreferenceConfig : IValidated
{
    /// <summary>The files, relative to the working directory unless rooted: json (lines or one array), csv, parquet; also <c>.gz</c>.</summary>
    public required ImmutableArray<string> Files { get; init; }

    /// <summary>What a record holds.</summary>
    public PreferenceLayout Layout { get; init; } = PreferenceLayout.Auto;

    /// <summary>How a conversation becomes text: <c>chat</c> (the model folder's template, else Zephyr's), <c>zephyr</c>, or a file with a Jinja template; null is <c>chat</c>.</summary>
    public string? Template { get; init; }

    /// <summary>Tokens that the prompt and the longer response may have together.</summary>
    public int MaxLength { get; init; } = 1024;

    /// <summary>Tokens that are left of the prompt where both together have too many.</summary>
    public int MaxPromptLength { get; init; } = 512;

    /// <summary>What happens to records that lack a field or a response. Default: stop.</summary>
    public BadRecordPolicy OnBadRecord { get; init; } = BadRecordPolicy.Fail;

    /// <summary>What happens to pairs whose responses are equal, so that there is nothing to learn. Default: stop.</summary>
    public EqualPairPolicy OnEqualPair { get; init; } = EqualPairPolicy.Fail;

    /// <summary>Take this many records from the beginning; 0 takes all.</summary>
    public int MaxRecords { get; init; }

    /// <summary>Problems of HumanEval (columns <c>prompt</c>, <c>canonical_solution</c>); pairs whose chosen response holds one of them are left out.</summary>
    public ImmutableArray<string> ContaminationFiles { get; init; } = [];

    /// <summary>How pairs become batches; packing is not possible.</summary>
    public ExampleBatching Batching { get; init; } = ExampleBatching.Padding;

    /// <summary>Whether each epoch has an order of its own; else that of the files.</summary>
    public bool Shuffle { get; init; } = true;

    /// <summary>How often each pair is seen; 0 if the number of updates is given instead.</summary>
    public int Epochs { get; init; }

    /// <summary>The name of the template, the default filled in.</summary>
    public string TemplateName => Template ?? ExampleConfig.ChatTemplate;

    /// <inheritdoc/>
    public void Validate(string path, List<string> problems)
    {
        ArgumentNullException.ThrowIfNull(problems);
        problems.Require(Files is { IsDefaultOrEmpty: false }, path, "files", "is empty; name at least one file.");
        RowReader.RequireKnown(Files, path, "files", problems);
        RowReader.RequireKnown(ContaminationFiles, path, "contamination_files", problems);
        problems.Require(TemplateName != ExampleConfig.InstructionTemplate, path, "template", "is instruction, which has no place for messages; take chat, zephyr, or a file.");
        problems.Require(MaxLength >= 2, path, "max_length", $"is {MaxLength}; it must be at least 2.");
        problems.Require(MaxPromptLength >= 1 && MaxPromptLength < MaxLength, path, "max_prompt_length", $"is {MaxPromptLength}; it must be at least 1 and less than max_length, {MaxLength}.");
        problems.Require(MaxRecords >= 0, path, "max_records", $"is {MaxRecords}; it must be 0 (all) or more.");
        problems.Require(Batching != ExampleBatching.Packing, path, "batching", "is packing, but a pair is two sequences that are compared; take padding or grouping.");
        problems.Require(Epochs >= 0, path, "epochs", $"is {Epochs}; it must be at least 1, or 0 where trainer.steps counts.");
    }
}

/// <summary>What a record of preference tuning holds.</summary>
public enum PreferenceLayout
{
    /// <summary>One of the others: what each record's columns say.</summary>
    Auto,

    /// <summary>
    /// <c>chosen</c> and <c>rejected</c>, lists of messages (<c>role</c>, <c>content</c>) that begin with the prompt, as in binarized UltraFeedback. A <c>prompt</c>
    /// that is a list stands before them; one that is text is their first message, or, where the responses are texts too, what the user says.
    /// </summary>
    Messages,

    /// <summary><c>instruction</c>, perhaps <c>input</c>, and the texts <c>chosen</c> and <c>rejected</c>.</summary>
    Instruction,

    /// <summary><c>chosen</c> and <c>rejected</c>, whole dialogues in one text each as in hh-rlhf: <c>\n\nHuman: …\n\nAssistant: …</c>.</summary>
    Dialogue,
}

/// <summary>What happens to a pair whose responses are equal.</summary>
public enum EqualPairPolicy
{
    /// <summary>It stops the run.</summary>
    Fail,

    /// <summary>It is left out, and counted.</summary>
    Skip,
}
