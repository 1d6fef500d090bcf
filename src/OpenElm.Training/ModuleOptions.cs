using OpenElm.Checkpoints;
using OpenElm.Quantization;
using static TorchSharp.torch;

namespace OpenElm.Training;

/// <summary>The numerical types of training (section 1.9 of the reference).</summary>
public enum Precision
{
    /// <summary>Everything in single precision.</summary>
    Fp32,

    /// <summary>Weights, residual stream and norms in single precision; matrix products and attention in bfloat16.</summary>
    Autocast,

    /// <summary>Weights and residual stream in bfloat16; the optimizer keeps single-precision weights of its own.</summary>
    Bf16,
}

/// <summary>Which implementation of norms, rotations, gates and losses runs.</summary>
public enum KernelChoice
{
    /// <summary><see cref="Fused"/> where it runs, else <see cref="Torch"/>.</summary>
    Auto,

    /// <summary>One libtorch operator for each step of the formula: the specification that tests compare with.</summary>
    Reference,

    /// <summary>libtorch's own fused operators where it has them.</summary>
    Torch,

    /// <summary>
    /// This project's kernels, each with a hand-written gradient: vector kernels on the CPU; on a GPU the whole update (docs/gpu-training.md), while
    /// passes without gradients use those of <see cref="Torch"/>.
    /// </summary>
    Fused,
}

/// <summary>How a training module computes; the architecture is in its configuration.</summary>
public sealed record ModuleOptions
{
    /// <summary>Numerical types.</summary>
    public Precision Precision { get; init; } = Precision.Fp32;

    /// <summary>Implementation of the steps between matrix products.</summary>
    public KernelChoice Kernels { get; init; } = KernelChoice.Auto;

    /// <summary>Whether layers keep only their input and compute the rest again in the backward pass.</summary>
    public bool ActivationCheckpointing { get; init; }

    /// <summary>Whether gradients on a GPU have the same bits every time; on the CPU they always have.</summary>
    public bool Deterministic { get; init; }

    /// <summary>
    /// A block format of GGUF that the matrices of the layers are held in, frozen, for training adapters beside them; null for tensors. Rows that are
    /// no whole blocks have another format as in <see cref="TensorFormat.Fitting"/>, or stay tensors; embedding, head and norms always do.
    /// </summary>
    public DType? BaseWeights { get; init; }

    /// <summary>The padding token, whose embedding gets no gradient from look-ups; null if there is none.</summary>
    public int? PaddingId { get; init; }

    /// <summary><c>cpu</c>, <c>cuda</c> or <c>cuda:N</c>.</summary>
    public string Device { get; init; } = "cpu";

    /// <summary>Whether the model computes on the CPU.</summary>
    internal bool IsCpu => Device == "cpu";

    /// <summary>Whether this project's own CPU kernels run.</summary>
    internal bool UsesFusedKernels =>
        IsCpu && Kernels is (KernelChoice.Fused or KernelChoice.Auto);

    /// <summary>The element type of the weights.</summary>
    internal ScalarType WeightType => Precision == Precision.Bf16 ? ScalarType.BFloat16 : ScalarType.Float32;

    /// <summary>The element type of matrix products.</summary>
    internal ScalarType ProductType => Precision == Precision.Fp32 ? ScalarType.Float32 : ScalarType.BFloat16;

    /// <summary>The block format of a layer's matrix; null for a tensor.</summary>
    /// <param name="columns">Elements of a row.</param>
    internal DType? BlocksOf(long columns) =>
        BaseWeights is { } wanted && TensorFormat.Fitting(wanted, columns).DType is var format && format.IsBlocked() ? format : null;
}
