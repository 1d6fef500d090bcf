using System.Diagnostics;
using OpenElm.Training.Kernels;
using OpenElm.Training.Torch;
using static TorchSharp.torch;

namespace OpenElm.Training.Benchmarking;

/// <summary>The normalisations that the paper's Table 8 compares; without biases.</summary>
public enum NormKind
{
    /// <summary>libtorch's LayerNorm, one kernel.</summary>
    LayerNorm,

    /// <summary>RMSNorm as CoreNet writes it: a kernel for each step of the formula.</summary>
    NaiveRmsNorm,

    /// <summary>libtorch's RMSNorm, which Apex's stands for in the paper.</summary>
    FusedRmsNorm,
}

/// <summary>The reference kernels with one of the normalisations in every place.</summary>
internal sealed class NormKernels(NormKind kind) : ReferenceKernels
{
    /// <inheritdoc/>
    public override Tensor RmsNorm(Tensor x, Tensor weight, double eps) => kind switch
    {
        NormKind.LayerNorm => nn.functional.layer_norm(x, [x.size(-1)], weight, null, eps),
        NormKind.NaiveRmsNorm => base.RmsNorm(x, weight, eps),
        NormKind.FusedRmsNorm => Dispatcher.RmsNorm(x, weight, eps),
        _ => throw new UnreachableException(),
    };
}
