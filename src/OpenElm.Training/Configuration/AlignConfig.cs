using OpenElm.Adapters;
using OpenElm.Data;
using OpenElm.Yaml;

namespace OpenElm.Training;

/// <summary>
/// One run of preference tuning (openelm.md 7): everything that decides its result, in one file. <see cref="StrictYaml"/> reads it; the
/// effective configuration is saved beside the checkpoints. Relative paths are relative to the working directory.
/// </summary>
public sealed record AlignConfig : ITuningConfig, IValidated
{
    /// <inheritdoc/>
    public required string Output { get; init; }

    /// <summary>Seed of the order of the pairs and of the text samples.</summary>
    public int Seed { get; init; }

    /// <summary>The model folder to begin with, which is the reference model too; its tokenizer and chat template are used and go into the result.</summary>
    public required string Model { get; init; }

    /// <summary>The pairs of responses to learn from, and how they become batches.</summary>
    public required PreferenceConfig Data { get; init; }

    /// <summary>Held-out pairs, or null for none.</summary>
    public RecordValidationConfig? Validation { get; init; }

    /// <inheritdoc/>
    public AdapterConfig? Adapter { get; init; }

    /// <inheritdoc/>
    public string? BaseWeights { get; init; }

    /// <summary>What the pairs are worth.</summary>
    public PreferenceLossConfig Loss { get; init; } = new();

    /// <summary>Where the reference model's log-probabilities are kept, for this run and for others with the same model and pairs; null is the folder <c>reference</c> beside the run's.</summary>
    public string? ReferenceCache { get; init; }

    /// <inheritdoc/>
    public OptimizerConfig Optimizer { get; init; } = new() { Beta2 = 0.999, WeightDecay = 0 };

    /// <inheritdoc/>
    public required ScheduleConfig Schedule { get; init; }

    /// <summary>The loop; <c>micro_batch</c> counts pairs, each of two sequences.</summary>
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
        problems.Require(ReferenceCache is not "", path, "reference_cache", "is empty; name a folder, or leave it out.");
        ((ITuningConfig)this).ValidateTuning(path, problems, validates: Validation is not null);
    }
}
