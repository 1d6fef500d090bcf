using OpenElm.Adapters;
using OpenElm.Data;
using OpenElm.Yaml;

namespace OpenElm.Training;

/// <summary>
/// One run of supervised tuning: everything that decides its result, in one file. <see cref="StrictYaml"/> reads it; the effective
/// configuration is saved beside the checkpoints. Relative paths are relative to the working directory.
/// </summary>
public sealed record FinetuneConfig : ITuningConfig, IValidated
{
    /// <inheritdoc/>
    public required string Output { get; init; }

    /// <summary>Seed of the order of the examples and of the text samples.</summary>
    public int Seed { get; init; }

    /// <inheritdoc/>
    public required string Model { get; init; }

    /// <summary>The records to learn from, and how they become batches.</summary>
    public required ExampleConfig Data { get; init; }

    /// <summary>Held-out records, or null for none.</summary>
    public RecordValidationConfig? Validation { get; init; }

    /// <inheritdoc/>
    public AdapterConfig? Adapter { get; init; }

    /// <inheritdoc/>
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

    /// <inheritdoc/>
    public DistributedConfig Distributed { get; init; } = new();

    /// <summary>Questions that the tuned model answers at the end, written by the template; null for none.</summary>
    public SampleConfig? Samples { get; init; }

    int ITuningConfig.Epochs => Data.Epochs;

    /// <inheritdoc/>
    public void Validate(string path, List<string> problems)
    {
        ArgumentNullException.ThrowIfNull(problems);
        ((ITuningConfig)this).ValidateTuning(path, problems, validates: Validation is not null);
    }
}
