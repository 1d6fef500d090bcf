using System.Collections.Immutable;
using OpenElm.Data;
using OpenElm.Yaml;

namespace OpenElm.Training;

/// <summary>
/// One pre-training run: everything that decides its result, in one file. <see cref="StrictYaml"/> reads it; the effective
/// configuration is saved beside the checkpoints. Relative paths are relative to the working directory.
/// </summary>
public sealed record RunConfig : ITrainingConfig, IValidated
{
    /// <summary>The folder of the run: checkpoints, metrics, report.</summary>
    public required string Output { get; init; }

    /// <summary>Seed of the initial weights and of the text samples.</summary>
    public int Seed { get; init; }

    /// <summary>The architecture.</summary>
    public required ModelConfig Model { get; init; }

    /// <summary>The tokenizer: a file, or how to train one on the run's own text.</summary>
    public required TokenizerConfig Tokenizer { get; init; }

    /// <summary>The training text and how it becomes batches.</summary>
    public required DataConfig Data { get; init; }

    /// <summary>Held-out text, or null for none (as in the paper's runs).</summary>
    public ValidationConfig? Validation { get; init; }

    /// <summary>Cross entropy and what is added to it.</summary>
    public LossConfig Loss { get; init; } = new();

    /// <summary>AdamW.</summary>
    public OptimizerConfig Optimizer { get; init; } = new();

    /// <summary>The learning rate over the run.</summary>
    public required ScheduleConfig Schedule { get; init; }

    /// <summary>The loop.</summary>
    public required TrainerConfig Trainer { get; init; }

    /// <summary>What is saved, when, and what is kept.</summary>
    public CheckpointConfig Checkpoints { get; init; } = new();

    /// <summary>How the run uses several processes.</summary>
    public DistributedConfig Distributed { get; init; } = new();

    /// <summary>Text written by the model at the end, or null for none.</summary>
    public SampleConfig? Samples { get; init; }

    /// <inheritdoc/>
    public void Validate(string path, List<string> problems)
    {
        problems.Require(Trainer.Steps >= 1, path, "trainer.steps", $"is {Trainer.Steps}; it must be at least 1.");
        ((ITrainingConfig)this).ValidateShared(path, problems, validates: Validation is not null);
    }
}

/// <summary>The text to validate on.</summary>
public sealed record ValidationConfig : IValidated
{
    /// <summary>The held-out files.</summary>
    public required ImmutableArray<DataSource> Sources { get; init; }

    /// <summary>Validate after every so many updates, and at the end.</summary>
    public int Every { get; init; } = 1000;

    /// <summary>Stop after this many batches; 0 takes the whole text.</summary>
    public int MaxBatches { get; init; }

    /// <summary>At the end, compare with a bigram model of the training text; only for corpora that fit into memory.</summary>
    public bool BigramBaseline { get; init; }

    /// <inheritdoc/>
    public void Validate(string path, List<string> problems)
    {
        problems.Require(Sources is { IsDefaultOrEmpty: false }, path, "sources", "is empty; name at least one file.");
        problems.Require(Every >= 1, path, "every", $"is {Every}; it must be at least 1.");
        problems.Require(MaxBatches >= 0, path, "max_batches", $"is {MaxBatches}; it must be 0 (all) or more.");
    }
}
