using System.Collections.Immutable;
using System.Text.Json.Serialization;
using OpenElm.Training.Objectives;

namespace OpenElm.Training.Reporting;

/// <summary>What a run is about to do.</summary>
public sealed record RunInfo
{
    /// <summary>The run's name.</summary>
    public required string Name { get; init; }

    /// <summary>Where its files go.</summary>
    public required string Folder { get; init; }

    /// <summary>The step after which it is done.</summary>
    public required long TotalSteps { get; init; }

    /// <summary>Steps that an earlier part of this run has done; 0 unless resumed.</summary>
    public long StepsDone { get; init; }

    /// <summary>The model's parameters.</summary>
    public required long Parameters { get; init; }

    /// <summary>Tokens that one step trains on.</summary>
    public required long TokensPerStep { get; init; }

    /// <summary>Names of measured values that are worth watching beside the loss.</summary>
    public ImmutableArray<string> Watched { get; init; } = [];

    /// <summary>For example <c>cpu</c> or <c>cuda</c>.</summary>
    public string Device { get; init; } = "cpu";

    /// <summary>For example <c>fp32</c>.</summary>
    public string Precision { get; init; } = "fp32";
}

/// <summary>One number that an objective measured.</summary>
/// <param name="Name">Its name in logs, snake_case.</param>
/// <param name="Value">The number.</param>
public readonly record struct MeasuredValue(string Name, double Value);

/// <summary>The numbers of one update of the weights.</summary>
public sealed record StepMetrics
{
    /// <summary>The update, from 1.</summary>
    public required long Step { get; init; }

    /// <summary>The last update of the run.</summary>
    public required long TotalSteps { get; init; }

    /// <summary>What is minimised.</summary>
    public required double Loss { get; init; }

    /// <summary>The term of the loss that validation measures too: for language models the mean of −ln p(target) in nats.</summary>
    [JsonIgnore]
    public double ComparableLoss => Measured is [var first, ..] ? first.Value : Loss;

    /// <summary>What the objective measures, in its order, such as <c>cross_entropy</c> and <c>z_loss</c>; in logs beside the other fields.</summary>
    [JsonIgnore]
    public ImmutableArray<MeasuredValue> Measured { get; init; } = [];

    /// <summary>The learning rate of this update.</summary>
    public double LearningRate { get; init; }

    /// <summary>Global L2 norm of the gradients before clipping.</summary>
    public double GradientNorm { get; init; }

    /// <summary>Throughput since the last reported step.</summary>
    public double TokensPerSecond { get; init; }

    /// <summary>Share of the time that the trainer waited for data, 0 to 1.</summary>
    public double DataWaitShare { get; init; }

    /// <summary>Share of the machine's peak arithmetic that the model used, 0 to 1; NaN when the peak is unknown.</summary>
    public double Utilisation { get; init; } = double.NaN;

    /// <summary>Tokens trained on since the run's first step.</summary>
    public long TokensSeen { get; init; }

    /// <summary>Time since this process began to train.</summary>
    public TimeSpan Elapsed { get; init; }

    /// <summary>Expected time to the last step.</summary>
    public TimeSpan TimeLeft { get; init; }
}

/// <summary>The model on held-out text.</summary>
public sealed record ValidationMetrics
{
    /// <summary>After which update.</summary>
    public required long Step { get; init; }

    /// <summary>The loss, a mean: for language models cross entropy in nats a token.</summary>
    public required double Loss { get; init; }

    /// <summary>What the loss is called where single measurements are.</summary>
    public string LossName { get; init; } = CausalLMObjective.CrossEntropy;

    /// <summary>e to the power of the loss; null where the loss is no cross entropy.</summary>
    public double? Perplexity => LossName == CausalLMObjective.CrossEntropy ? Math.Exp(Loss) : null;

    /// <summary>Bits for one byte of the text; null when the text's length is unknown.</summary>
    public double? BitsPerByte { get; init; }

    /// <summary>Tokens measured on.</summary>
    public required long Tokens { get; init; }

    /// <summary>What else the objective measures; in logs beside the other fields.</summary>
    [JsonIgnore]
    public ImmutableArray<MeasuredValue> Measured { get; init; } = [];

    /// <summary>How long it took.</summary>
    public TimeSpan Duration { get; init; }
}

/// <summary>A checkpoint that is whole on the disk.</summary>
/// <param name="Step">After which update.</param>
/// <param name="Path">Its folder.</param>
/// <param name="Duration">How long writing took.</param>
public sealed record CheckpointSaved(long Step, string Path, TimeSpan Duration);

/// <summary>Text that the model wrote.</summary>
/// <param name="Step">After which update.</param>
/// <param name="Prompt">What it was given.</param>
/// <param name="Text">What it wrote after that.</param>
public sealed record GeneratedSample(long Step, string Prompt, string Text);

/// <summary>How a run ended.</summary>
public enum RunOutcome
{
    /// <summary>Every step is done.</summary>
    Completed,

    /// <summary>The user stopped it; it can be resumed.</summary>
    Stopped,

    /// <summary>It could not go on, for example because the loss became infinite.</summary>
    Failed,
}

/// <summary>The end of a run.</summary>
/// <param name="Outcome">How it ended.</param>
/// <param name="Step">The last update done.</param>
/// <param name="Elapsed">Time since this process began to train.</param>
/// <param name="Message">Why, if not completed.</param>
public sealed record RunEnd(RunOutcome Outcome, long Step, TimeSpan Elapsed, string? Message = null);
