using OpenElm.Training.Optimization;

namespace OpenElm.Training;

/// <summary>Cosine schedule with linear warm-up (openelm.md 4.3).</summary>
public sealed record ScheduleConfig : IValidated
{
    /// <summary>The learning rate at the end of the warm-up.</summary>
    public required double MaxLearningRate { get; init; }

    /// <summary>The learning rate at the end.</summary>
    public required double MinLearningRate { get; init; }

    /// <summary>The learning rate of the first update.</summary>
    public double WarmupInitLearningRate { get; init; } = 1e-6;

    /// <summary>Updates of the warm-up; null is <see cref="WarmupRatio"/>, or 5000 without one.</summary>
    public int? WarmupIterations { get; init; }

    /// <summary>The warm-up as a share of all updates, rounded up, instead of <see cref="WarmupIterations"/>.</summary>
    public double? WarmupRatio { get; init; }

    /// <summary>The last iteration T of the cosine; null is <c>trainer.steps − 1</c>, so that the last update is made at the minimum.</summary>
    public int? MaxIterations { get; init; }

    /// <summary>Decimals that rates are rounded to, as CoreNet rounds them; null does not round.</summary>
    public int? Decimals { get; init; } = 8;

    /// <summary>Updates of the warm-up of a run.</summary>
    /// <param name="steps">All updates of the run.</param>
    /// <returns>Updates.</returns>
    public int WarmupOf(int steps) => WarmupRatio is { } ratio ? (int)Math.Ceiling(ratio * steps) : WarmupIterations ?? 5000;

    /// <summary>The last t of the cosine: the reference makes the updates t = 0 … T.</summary>
    /// <param name="steps">All updates of the run.</param>
    /// <returns>T.</returns>
    public int LastIteration(int steps) => MaxIterations ?? steps - 1;

    /// <summary>The schedule of a run.</summary>
    /// <param name="steps">All updates of the run.</param>
    /// <returns>The learning rate as a function of the update.</returns>
    public CosineSchedule Over(int steps) =>
        new(MaxLearningRate, MinLearningRate, WarmupOf(steps), LastIteration(steps), WarmupInitLearningRate) { Decimals = Decimals };

    /// <inheritdoc/>
    public void Validate(string path, List<string> problems)
    {
        problems.Require(MaxLearningRate > 0 && double.IsFinite(MaxLearningRate), path, "max_learning_rate", $"is {MaxLearningRate}; it must be a positive number.");
        problems.Require(MinLearningRate >= 0 && MinLearningRate <= MaxLearningRate, path, "min_learning_rate", $"is {MinLearningRate}; it must be between 0 and max_learning_rate ({MaxLearningRate}).");
        problems.Require(WarmupInitLearningRate >= 0, path, "warmup_init_learning_rate", $"is {WarmupInitLearningRate}; it must be 0 or more.");
        problems.Require(WarmupIterations is null or >= 0, path, "warmup_iterations", $"is {WarmupIterations}; it must be 0 or more.");
        problems.Require(WarmupRatio is null or (>= 0 and <= 1), path, "warmup_ratio", $"is {WarmupRatio}; it must be between 0 and 1.");
        problems.Require(WarmupIterations is null || WarmupRatio is null, path, "warmup_ratio", "and warmup_iterations are alternatives; give one of them.");
        problems.Require(Decimals is null or (>= 0 and <= 15), path, "decimals", $"is {Decimals}; it must be between 0 and 15, or null.");
        problems.Require(MaxIterations is null or >= 0, path, "max_iterations", $"is {MaxIterations}; it must be 0 or more.");
    }
}
