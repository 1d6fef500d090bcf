using System.Collections.Immutable;
using OpenElm.Adapters;
using OpenElm.Data;
using OpenElm.Yaml;

namespace OpenElm.Training;

/// <summary>
/// One run of supervised tuning: everything that decides its result, in one file. <see cref="StrictYaml"/> reads it; the effective
/// configuration is saved beside the checkpoints. Relative paths are relative to the working directory.
/// </summary>
public sealed record FinetuneConfig : ITrainingConfig, IValidated
{
    /// <inheritdoc/>
    public required string Output { get; init; }

    /// <summary>Seed of the order of the examples and of the text samples.</summary>
    public int Seed { get; init; }

    /// <summary>The model folder to begin with; its tokenizer and chat template are used and go into the result.</summary>
    public required string Model { get; init; }

    /// <summary>The records to learn from, and how they become batches.</summary>
    public required ExampleConfig Data { get; init; }

    /// <summary>Held-out records, or null for none.</summary>
    public ExampleValidationConfig? Validation { get; init; }

    /// <summary>The adapter to train beside the frozen weights; null trains the weights themselves.</summary>
    public AdapterConfig? Adapter { get; init; }

    /// <summary>
    /// The format of <c>openelm quantize</c> that the frozen matrices of the layers are held in beside an adapter, for example <c>Q4_K</c> (QLoRA); null
    /// holds them as the precision says.
    /// </summary>
    public string? BaseWeights { get; init; }

    /// <summary>Cross entropy and what is added to it.</summary>
    public LossConfig Loss { get; init; } = new();

    /// <inheritdoc/>
    public OptimizerConfig Optimizer { get; init; } = new();

    /// <inheritdoc/>
    public required ScheduleConfig Schedule { get; init; }

    /// <inheritdoc/>
    public required TrainerConfig Trainer { get; init; }

    /// <inheritdoc/>
    public CheckpointConfig Checkpoints { get; init; } = new() { AverageLast = 0 };

    /// <summary>Questions that the tuned model answers at the end, written by the template; null for none.</summary>
    public SampleConfig? Samples { get; init; }

    /// <inheritdoc/>
    public void Validate(string path, List<string> problems)
    {
        ArgumentNullException.ThrowIfNull(problems);
        problems.Require(Model.Length > 0, path, "model", "is empty; name a model folder.");
        problems.Require(Trainer.Steps > 0 != Data.Epochs > 0, path, "trainer.steps", "and data.epochs are alternatives; give exactly one of them.");
        problems.Require(Adapter is null || Checkpoints.AverageLast == 0, path, "checkpoints.average_last", $"is {Checkpoints.AverageLast}; adapters are not averaged (the mean of B·A is not that of B and A), so set it to 0.");
        BaseWeightFormat.Validate(BaseWeights, Adapter, path, problems);
        ((ITrainingConfig)this).ValidateShared(path, problems, validates: Validation is not null);
    }

    /// <summary>The same run with its updates counted.</summary>
    /// <param name="steps">Updates of the whole run.</param>
    /// <returns>The run, valid.</returns>
    /// <exception cref="OpenElmException">The warm-up is longer.</exception>
    internal FinetuneConfig WithSteps(int steps)
    {
        FinetuneConfig counted = this with { Data = Data with { Epochs = 0 }, Trainer = Trainer with { Steps = steps } };
        var problems = new List<string>();
        counted.Validate("", problems);
        return problems is [] ? counted : throw OpenElmException.Of($"The {Data.Epochs} epochs make {steps} updates, and the configuration does not fit them", problems);
    }
}

/// <summary>Held-out records of supervised tuning; template, limits and loss are those of the training data.</summary>
public sealed record ExampleValidationConfig : IValidated
{
    /// <summary>The held-out files.</summary>
    public required ImmutableArray<string> Files { get; init; }

    /// <summary>Validate after every so many updates, and at the end.</summary>
    public int Every { get; init; } = 100;

    /// <summary>Take this many records; 0 takes all.</summary>
    public int MaxRecords { get; init; }

    /// <inheritdoc/>
    public void Validate(string path, List<string> problems)
    {
        ArgumentNullException.ThrowIfNull(problems);
        problems.Require(Files is { IsDefaultOrEmpty: false }, path, "files", "is empty; name at least one file.");
        problems.Require(Every >= 1, path, "every", $"is {Every}; it must be at least 1.");
        problems.Require(MaxRecords >= 0, path, "max_records", $"is {MaxRecords}; it must be 0 (all) or more.");
    }
}
