namespace OpenElm.Training;

/// <summary>The training loop.</summary>
public sealed record TrainerConfig : IValidated
{
    /// <summary>Optimizer updates of the whole run; tuning may count epochs instead (0).</summary>
    public int Steps { get; init; }

    /// <summary>Sequences in one forward pass.</summary>
    public int MicroBatch { get; init; } = 16;

    /// <summary>Forward passes in one update.</summary>
    public int Accumulation { get; init; } = 1;

    /// <summary>How the gradients of one update's passes combine: <c>mean</c>, <c>token_mean</c>, or <c>sum</c> as CoreNet does.</summary>
    public AccumulationReduction AccumulationReduction { get; init; }

    /// <summary>Largest global L2 norm of the gradients; 0 does not clip.</summary>
    public double ClipGradNorm { get; init; } = 1.0;

    /// <summary>Number formats (openelm.md 1.9).</summary>
    public Precision Precision { get; init; }

    /// <summary>Recompute each layer in the backward pass instead of keeping its activations.</summary>
    public bool ActivationCheckpointing { get; init; }

    /// <summary>Which implementation of norms, RoPE and activations runs.</summary>
    public KernelChoice Kernels { get; init; } = KernelChoice.Auto;

    /// <summary>
    /// Whether runs on a GPU give the same bits every time: attention's gradients are then added in a fixed order, by flash attention, which takes longer.
    /// On the CPU runs always do.
    /// </summary>
    public bool Deterministic { get; init; }

    /// <summary>
    /// Whether most matrix products of the fused GPU path read copies in eight bits (Hopper and later): faster, at the cost of rounding that training has to bear (docs/gpu-training.md).
    /// What precision says holds for everything else.
    /// </summary>
    public bool Fp8Products { get; init; }

    /// <summary>
    /// Whether the fused GPU path may compute SwiGLU in the last step of the products beside it, for the widths at which that is faster (Hopper, bf16 products). With deterministic it never does, because the
    /// choice depends on timing.
    /// </summary>
    public bool SwigluInProducts { get; init; } = true;

    /// <summary>Whether the fused GPU path records the launches of a pass once and then sends them together, so that the GPU does not wait for the host.</summary>
    public bool CudaGraphs { get; init; } = true;

    /// <summary>Momentum m of the weights' moving average ema = (1 − m)·ema + m·w; 0 keeps none.</summary>
    public double EmaMomentum { get; init; }

    /// <summary>Report after every so many updates.</summary>
    public int LogEvery { get; init; } = 10;

    /// <summary>How the model of the run computes.</summary>
    /// <param name="device"><c>cpu</c>, <c>cuda</c> or <c>cuda:N</c>.</param>
    /// <returns>The options, without a padding id.</returns>
    internal ModuleOptions ModuleOptions(string device) =>
        new() { Precision = Precision, Kernels = Kernels, ActivationCheckpointing = ActivationCheckpointing, Deterministic = Deterministic, Device = device };

    /// <inheritdoc/>
    public void Validate(string path, List<string> problems)
    {
        problems.Require(Steps >= 0, path, "steps", $"is {Steps}; it must be at least 1.");
        problems.Require(MicroBatch >= 1, path, "micro_batch", $"is {MicroBatch}; it must be at least 1.");
        problems.Require(Accumulation >= 1, path, "accumulation", $"is {Accumulation}; it must be at least 1.");
        problems.Require(!Fp8Products || Precision != Precision.Fp32, path, "fp8_products", "needs precision bf16 or autocast.");
        problems.Require(!Fp8Products || !Deterministic, path, "fp8_products", "is not deterministic across a resume, because its factors begin anew; leave out deterministic or fp8_products.");
        problems.Require(ClipGradNorm >= 0, path, "clip_grad_norm", $"is {ClipGradNorm}; it must be 0 (no clipping) or more.");
        problems.Require(EmaMomentum is >= 0 and <= 1, path, "ema_momentum", $"is {EmaMomentum}; it must be 0 (none) or in (0, 1].");
        problems.Require(LogEvery >= 1, path, "log_every", $"is {LogEvery}; it must be at least 1.");
    }
}

/// <summary>How the gradients of several forward passes become one.</summary>
public enum AccumulationReduction
{
    /// <summary>The mean of the passes: where all have as many targets, the update does not depend on how a batch is cut.</summary>
    Mean,

    /// <summary>The mean over all targets of the update: a pass with few targets counts less.</summary>
    TokenMean,

    /// <summary>The sum, as CoreNet does.</summary>
    Sum,
}
