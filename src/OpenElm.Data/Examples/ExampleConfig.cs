using System.Collections.Immutable;
using OpenElm.Data.Rows;

namespace OpenElm.Data;

/// <summary>Which records supervised tuning reads, and how they become examples and batches.</summary>
public sealed record ExampleConfig : IValidated
{
    /// <summary>The template of openelm.md 8.3, which tuning and evaluation on the commonsense sets share.</summary>
    public const string InstructionTemplate = "instruction";

    /// <summary>The chat template of the model folder, or <see cref="ZephyrTemplate"/> if it has none.</summary>
    public const string ChatTemplate = "chat";

    /// <summary>The chat template that OpenELM's own instruction tuning used (openelm.md 7.3).</summary>
    public const string ZephyrTemplate = "zephyr";

    /// <summary>The files, relative to the working directory unless rooted: json (lines or one array), csv, parquet; also <c>.gz</c>.</summary>
    public required ImmutableArray<string> Files { get; init; }

    /// <summary>What a record holds.</summary>
    public RecordKind Records { get; init; } = RecordKind.Instruction;

    /// <summary>How a record becomes text: <c>instruction</c>, <c>chat</c>, <c>zephyr</c>, or a file with a Jinja template; null is <c>instruction</c> for instructions and <c>chat</c> for messages.</summary>
    public string? Template { get; init; }

    /// <summary>What the loss looks at.</summary>
    public LossScope LossOn { get; init; } = LossScope.Everything;

    /// <summary>Tokens that the model sees in one sequence; null is what it was trained on.</summary>
    public int? SequenceLength { get; init; }

    /// <summary>What happens to examples with more tokens. Default: stop.</summary>
    public LongExamplePolicy OnTooLong { get; init; } = LongExamplePolicy.Fail;

    /// <summary>What happens to records that lack a field or a response. Default: stop.</summary>
    public BadRecordPolicy OnBadRecord { get; init; } = BadRecordPolicy.Fail;

    /// <summary>Take this many records from the beginning; 0 takes all.</summary>
    public int MaxRecords { get; init; }

    /// <summary>Cleans texts up before they are tokenized (entities, quotes, widths, controls, NFC).</summary>
    public bool CleanUp { get; init; } = true;

    /// <summary>How examples become batches.</summary>
    public ExampleBatching Batching { get; init; } = ExampleBatching.Padding;

    /// <summary>Whether each epoch has an order of its own; else that of the files.</summary>
    public bool Shuffle { get; init; } = true;

    /// <summary>How often each example is seen; 0 if the number of updates is given instead.</summary>
    public int Epochs { get; init; }

    /// <summary>The name of the template, the default filled in.</summary>
    public string TemplateName => Template ?? (Records == RecordKind.Instruction ? InstructionTemplate : ChatTemplate);

    /// <inheritdoc/>
    public void Validate(string path, List<string> problems)
    {
        ArgumentNullException.ThrowIfNull(problems);
        problems.Require(Files is { IsDefaultOrEmpty: false }, path, "files", "is empty; name at least one file.");
        RowReader.RequireKnown(Files, path, "files", problems);
        problems.Require(Records == RecordKind.Instruction || TemplateName != InstructionTemplate, path, "template",
            "is instruction, which has no place for messages; take chat, zephyr, or a file.");
        problems.Require(SequenceLength is null or >= 1, path, "sequence_length", $"is {SequenceLength}; it must be at least 1.");
        problems.Require(MaxRecords >= 0, path, "max_records", $"is {MaxRecords}; it must be 0 (all) or more.");
        problems.Require(Epochs >= 0, path, "epochs", $"is {Epochs}; it must be at least 1, or 0 where trainer.steps counts.");
    }
}

/// <summary>What a record of supervised tuning holds.</summary>
public enum RecordKind
{
    /// <summary><c>instruction</c>, perhaps <c>input</c>, and <c>output</c> (or <c>answer</c>): one question and its answer.</summary>
    Instruction,

    /// <summary><c>messages</c>: a list of <c>role</c> and <c>content</c>, a whole conversation.</summary>
    Messages,
}

/// <summary>Which tokens of an example the loss looks at.</summary>
public enum LossScope
{
    /// <summary>All of them, prompts included, as the reference does.</summary>
    Everything,

    /// <summary>Those of the responses.</summary>
    Responses,
}

/// <summary>What happens to an example that is longer than a sequence.</summary>
public enum LongExamplePolicy
{
    /// <summary>It stops the run.</summary>
    Fail,

    /// <summary>Its end is cut off, and it is counted.</summary>
    Truncate,

    /// <summary>It is left out, and counted.</summary>
    Skip,
}

/// <summary>How examples become batches.</summary>
public enum ExampleBatching
{
    /// <summary>One example a sequence, padded to the longest of the batch.</summary>
    Padding,

    /// <summary>The same, with examples of like length put together, so that little is padded.</summary>
    Grouping,

    /// <summary>Several examples in a sequence. None sees another, and each counts its positions from 0.</summary>
    Packing,
}
