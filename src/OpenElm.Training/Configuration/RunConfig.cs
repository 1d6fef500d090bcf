using OpenElm.Data;
using OpenElm.Yaml;

namespace OpenElm.Training;

/// <summary>
/// One pre-training run: everything that decides its result, in one file. <see cref="StrictYaml"/> reads it; the effective
/// configuration is saved beside the checkpoints. Relative paths are relative to the working directory.
/// </summary>
public sealed record RunConfig : IValidated
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

    /// <summary>Text written by the model at the end, or null for none.</summary>
    public SampleConfig? Samples { get; init; }

    /// <summary>The last t of the cosine schedule: the reference makes the updates t = 0 … T.</summary>
    internal int LastIteration => Schedule.MaxIterations ?? Trainer.Steps - 1;

    /// <inheritdoc/>
    public void Validate(string path, List<string> problems)
    {
        problems.Require(Output.Length > 0, path, "output", "is empty; name the folder of the run.");
        int last = LastIteration;
        problems.Require(Schedule.WarmupIterations <= last, path, "schedule.warmup_iterations",
            $"is {Schedule.WarmupIterations}; it must not pass the last iteration ({last}).");
        problems.Require(Checkpoints.AverageLast == 0 || Checkpoints.KeepLast == 0 || Checkpoints.KeepLast >= Checkpoints.AverageLast, path, "checkpoints.keep_last",
            $"is {Checkpoints.KeepLast}; it must be at least average_last ({Checkpoints.AverageLast}), or 0 to keep all.");
        problems.Require(Checkpoints.KeepBest == 0 || Validation is not null, path, "checkpoints.keep_best",
            "needs a validation section: the best checkpoints are those of the lowest validation loss.");
    }
}

/// <summary>The text to validate on.</summary>
public sealed record ValidationConfig : IValidated
{
    /// <summary>The held-out files.</summary>
    public required System.Collections.Immutable.ImmutableArray<DataSource> Sources { get; init; }

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

/// <summary>The loss: cross entropy plus z-loss (openelm.md 4.1).</summary>
public sealed record LossConfig : IValidated
{
    /// <summary>Factor of logsumexp²; 0 switches the z-loss off.</summary>
    public double ZLoss { get; init; } = 1e-4;

    /// <summary>Probability mass spread evenly over the vocabulary.</summary>
    public double LabelSmoothing { get; init; }

    /// <summary>Add the constant (ln V)² of each padded position to the reported z-loss, as CoreNet does; gradients are the same.</summary>
    public bool CountPaddingInZLoss { get; init; }

    /// <inheritdoc/>
    public void Validate(string path, List<string> problems)
    {
        problems.Require(ZLoss >= 0, path, "z_loss", $"is {ZLoss}; it must be 0 or more.");
        problems.Require(LabelSmoothing is >= 0 and < 1, path, "label_smoothing", $"is {LabelSmoothing}; it must be in [0, 1).");
    }
}

/// <summary>AdamW (openelm.md 4.2): weight decay on matrices, none on vectors.</summary>
public sealed record OptimizerConfig : IValidated
{
    /// <summary>Decay of the gradient's mean.</summary>
    public double Beta1 { get; init; } = 0.9;

    /// <summary>Decay of the gradient's square.</summary>
    public double Beta2 { get; init; } = 0.95;

    /// <summary>Added to the root of the second moment.</summary>
    public double Epsilon { get; init; } = 1e-8;

    /// <summary>Decoupled weight decay of tensors with two dimensions or more.</summary>
    public double WeightDecay { get; init; } = 0.1;

    /// <inheritdoc/>
    public void Validate(string path, List<string> problems)
    {
        problems.Require(Beta1 is >= 0 and < 1, path, "beta1", $"is {Beta1}; it must be in [0, 1).");
        problems.Require(Beta2 is >= 0 and < 1, path, "beta2", $"is {Beta2}; it must be in [0, 1).");
        problems.Require(Epsilon > 0, path, "epsilon", $"is {Epsilon}; it must be positive.");
        problems.Require(WeightDecay >= 0, path, "weight_decay", $"is {WeightDecay}; it must be 0 or more.");
    }
}

/// <summary>Cosine schedule with linear warm-up (openelm.md 4.3).</summary>
public sealed record ScheduleConfig : IValidated
{
    /// <summary>The learning rate at the end of the warm-up.</summary>
    public required double MaxLearningRate { get; init; }

    /// <summary>The learning rate at the end.</summary>
    public required double MinLearningRate { get; init; }

    /// <summary>The learning rate of the first update.</summary>
    public double WarmupInitLearningRate { get; init; } = 1e-6;

    /// <summary>Updates of the warm-up.</summary>
    public int WarmupIterations { get; init; } = 5000;

    /// <summary>The last iteration T of the cosine; null is <c>trainer.steps − 1</c>, so that the last update is made at the minimum.</summary>
    public int? MaxIterations { get; init; }

    /// <inheritdoc/>
    public void Validate(string path, List<string> problems)
    {
        problems.Require(MaxLearningRate > 0 && double.IsFinite(MaxLearningRate), path, "max_learning_rate", $"is {MaxLearningRate}; it must be a positive number.");
        problems.Require(MinLearningRate >= 0 && MinLearningRate <= MaxLearningRate, path, "min_learning_rate", $"is {MinLearningRate}; it must be between 0 and max_learning_rate ({MaxLearningRate}).");
        problems.Require(WarmupInitLearningRate >= 0, path, "warmup_init_learning_rate", $"is {WarmupInitLearningRate}; it must be 0 or more.");
        problems.Require(WarmupIterations >= 0, path, "warmup_iterations", $"is {WarmupIterations}; it must be 0 or more.");
        problems.Require(MaxIterations is null or >= 0, path, "max_iterations", $"is {MaxIterations}; it must be 0 or more.");
    }
}

/// <summary>The training loop.</summary>
public sealed record TrainerConfig : IValidated
{
    /// <summary>Optimizer updates of the whole run.</summary>
    public required int Steps { get; init; }

    /// <summary>Sequences in one forward pass.</summary>
    public int MicroBatch { get; init; } = 16;

    /// <summary>Forward passes in one update.</summary>
    public int Accumulation { get; init; } = 1;

    /// <summary>How the gradients of one update's passes combine: <c>mean</c>, or <c>sum</c> as CoreNet does.</summary>
    public AccumulationReduction AccumulationReduction { get; init; }

    /// <summary>Largest global L2 norm of the gradients; 0 does not clip.</summary>
    public double ClipGradNorm { get; init; } = 1.0;

    /// <summary>Number formats (openelm.md 1.9).</summary>
    public Precision Precision { get; init; }

    /// <summary>Recompute each layer in the backward pass instead of keeping its activations.</summary>
    public bool ActivationCheckpointing { get; init; }

    /// <summary>Which implementation of norms, RoPE and activations runs.</summary>
    public KernelChoice Kernels { get; init; } = KernelChoice.Auto;

    /// <summary>Momentum m of the weights' moving average ema = (1 − m)·ema + m·w; 0 keeps none.</summary>
    public double EmaMomentum { get; init; }

    /// <summary>Report after every so many updates.</summary>
    public int LogEvery { get; init; } = 10;

    /// <inheritdoc/>
    public void Validate(string path, List<string> problems)
    {
        problems.Require(Steps >= 1, path, "steps", $"is {Steps}; it must be at least 1.");
        problems.Require(MicroBatch >= 1, path, "micro_batch", $"is {MicroBatch}; it must be at least 1.");
        problems.Require(Accumulation >= 1, path, "accumulation", $"is {Accumulation}; it must be at least 1.");
        problems.Require(ClipGradNorm >= 0, path, "clip_grad_norm", $"is {ClipGradNorm}; it must be 0 (no clipping) or more.");
        problems.Require(EmaMomentum is >= 0 and <= 1, path, "ema_momentum", $"is {EmaMomentum}; it must be 0 (none) or in (0, 1].");
        problems.Require(LogEvery >= 1, path, "log_every", $"is {LogEvery}; it must be at least 1.");
    }
}

/// <summary>How the gradients of several forward passes become one.</summary>
public enum AccumulationReduction
{
    /// <summary>The mean: the update does not depend on how a batch is cut.</summary>
    Mean,

    /// <summary>The sum, as CoreNet does.</summary>
    Sum,
}

/// <summary>Checkpoints of a run.</summary>
public sealed record CheckpointConfig : IValidated
{
    /// <summary>Save after every so many updates, and at the end.</summary>
    public int Every { get; init; } = 5000;

    /// <summary>Keep this many of the newest checkpoints; 0 keeps all.</summary>
    public int KeepLast { get; init; }

    /// <summary>Keep this many with the lowest validation loss besides.</summary>
    public int KeepBest { get; init; }

    /// <summary>Average the weights of this many of the newest checkpoints at the end; 0 makes no average. The paper takes five.</summary>
    public int AverageLast { get; init; } = 5;

    /// <summary>Weights are split into files of this many bytes.</summary>
    public long MaxShardBytes { get; init; } = 5_000_000_000;

    /// <inheritdoc/>
    public void Validate(string path, List<string> problems)
    {
        problems.Require(Every >= 1, path, "every", $"is {Every}; it must be at least 1.");
        problems.Require(KeepLast >= 0, path, "keep_last", $"is {KeepLast}; it must be 0 (all) or more.");
        problems.Require(KeepBest >= 0, path, "keep_best", $"is {KeepBest}; it must be 0 or more.");
        problems.Require(AverageLast is 0 or >= 2, path, "average_last", $"is {AverageLast}; it must be 0 (no average) or at least 2.");
        problems.Require(MaxShardBytes >= 1, path, "max_shard_bytes", $"is {MaxShardBytes}; it must be positive.");
    }
}

/// <summary>Text that the finished model writes.</summary>
public sealed record SampleConfig : IValidated
{
    /// <summary>The beginnings to continue.</summary>
    public required System.Collections.Immutable.ImmutableArray<string> Prompts { get; init; }

    /// <summary>Tokens to add to each.</summary>
    public int MaxTokens { get; init; } = 100;

    /// <summary>Softmax temperature; 0 takes the likeliest token.</summary>
    public double Temperature { get; init; } = 0.8;

    /// <summary>Draw from the likeliest tokens that hold this share.</summary>
    public double TopP { get; init; } = 0.95;

    /// <inheritdoc/>
    public void Validate(string path, List<string> problems)
    {
        problems.Require(Prompts is { IsDefaultOrEmpty: false }, path, "prompts", "is empty; give at least one beginning.");
        problems.Require(MaxTokens >= 1, path, "max_tokens", $"is {MaxTokens}; it must be at least 1.");
        problems.Require(Temperature >= 0, path, "temperature", $"is {Temperature}; it must be 0 or more.");
        problems.Require(TopP is > 0 and <= 1, path, "top_p", $"is {TopP}; it must be in (0, 1].");
    }
}
