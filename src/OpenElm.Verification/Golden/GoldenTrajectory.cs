using System.Collections.Immutable;
using OpenElm.Configuration;

namespace OpenElm.Verification.Golden;

/// <summary>What a <c>train-*</c> file gives a runtime.</summary>
/// <param name="Config">The architecture.</param>
/// <param name="InitialWeights">Every weight before the first update, under CoreNet's name.</param>
/// <param name="InputIds">[steps, microBatches, batch, seq]; targets are the next tokens, as in <see cref="GoldenModel"/>.</param>
/// <param name="Settings">Optimizer, schedule, clipping.</param>
public sealed record GoldenTrajectory(
    OpenElmConfig Config,
    ImmutableDictionary<string, GoldenTensor> InitialWeights,
    GoldenIds InputIds,
    GoldenTrainingSettings Settings);

/// <summary>How a golden trajectory was trained: AdamW, cosine schedule with warm-up, clipping by global norm.</summary>
public sealed record GoldenTrainingSettings
{
    /// <summary>The peak of the learning rate.</summary>
    public required double MaxLr { get; init; }

    /// <summary>The end of the learning rate.</summary>
    public required double MinLr { get; init; }

    /// <summary>The learning rate of the first update.</summary>
    public required double WarmupInitLr { get; init; }

    /// <summary>Updates of the warm-up.</summary>
    public required int WarmupIterations { get; init; }

    /// <summary>The T of the schedule.</summary>
    public required int MaxIterations { get; init; }

    /// <summary>AdamW's β1.</summary>
    public required double Beta1 { get; init; }

    /// <summary>AdamW's β2.</summary>
    public required double Beta2 { get; init; }

    /// <summary>AdamW's ε.</summary>
    public required double Eps { get; init; }

    /// <summary>Weight decay of the parameters in <see cref="Decay"/>.</summary>
    public required double WeightDecay { get; init; }

    /// <summary>The global gradient norm above which gradients are scaled down.</summary>
    public required double ClipGradNorm { get; init; }

    /// <summary>The factor of the z-loss.</summary>
    public required double ZLossFactor { get; init; }

    /// <summary>The weights that decay, by name; the runtime's own grouping must agree.</summary>
    public required ImmutableHashSet<string> Decay { get; init; }
}

/// <summary>What a runtime answers to a <see cref="GoldenTrajectory"/>.</summary>
/// <param name="Steps">One entry for each update.</param>
/// <param name="FinalWeights">The weights after the last update, by CoreNet's name.</param>
public sealed record GoldenTrajectoryOutput(IReadOnlyList<GoldenStep> Steps, IReadOnlyDictionary<string, float[]> FinalWeights);

/// <summary>What one update gave.</summary>
/// <param name="CrossEntropy">Mean over the micro-batches.</param>
/// <param name="Z">Mean over the micro-batches, factor included.</param>
/// <param name="GradNorm">Global norm of the mean gradient, before clipping.</param>
/// <param name="LearningRate">The learning rate of the update.</param>
public readonly record struct GoldenStep(double CrossEntropy, double Z, double GradNorm, double LearningRate);
