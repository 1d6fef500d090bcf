namespace OpenElm.Training;

/// <summary>How a run uses several processes (docs/distributed.md); without meaning for one that is alone. Its result does not depend on it.</summary>
public sealed record DistributedConfig : IValidated
{
    /// <summary>
    /// What is divided among the ranks instead of being on each: <c>none</c>, <c>optimizer</c>, <c>gradients</c> or <c>parameters</c>. Null is <c>optimizer</c> for several ranks, which takes less time and memory
    /// than <c>none</c>; <c>none</c> where the fused GPU path needs that (precision autocast).
    /// </summary>
    public Sharding? Sharding { get; init; }

    /// <summary>How long a rank waits for the others before it ends the job.</summary>
    public int TimeoutSeconds { get; init; } = 300;

    /// <inheritdoc/>
    public void Validate(string path, List<string> problems) =>
        problems.Require(TimeoutSeconds >= 1, path, "timeout_seconds", $"is {TimeoutSeconds}; it must be at least 1.");
}

/// <summary>What is divided among the ranks of a run; each level includes those before it.</summary>
public enum Sharding
{
    /// <summary>Nothing: every rank has all (data parallel, PyTorch's DDP).</summary>
    None,

    /// <summary>Moments, master weights and moving average (ZeRO-1).</summary>
    Optimizer,

    /// <summary>Gradients too (ZeRO-2).</summary>
    Gradients,

    /// <summary>Weights of the layers too: gathered layer by layer (ZeRO-3, PyTorch's FSDP).</summary>
    Parameters,
}
