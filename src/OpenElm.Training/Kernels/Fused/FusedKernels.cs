using TorchSharp;
using static TorchSharp.torch;

namespace OpenElm.Training.Kernels.Fused;

/// <summary>This project's vector kernels on the CPU.</summary>
internal sealed class FusedKernels : TorchKernels
{
    /// <inheritdoc/>
    public override Tensor RmsNorm(Tensor x, Tensor weight, double eps) => RmsNormFunction.apply(x, weight, eps);

    /// <inheritdoc/>
    public override QueryKeyValue SplitNormRotate(Tensor qkv, Tensor? qNorm, Tensor? kNorm, SequenceLayout layout, AttentionShape shape)
    {
        using DisposeScope scope = NewDisposeScope();
        var call = new SplitNormRotateFunction.Call(layout, shape);
        List<Tensor> heads = qNorm is null || kNorm is null
            ? SplitNormRotateFunction.apply(qkv, call)
            : SplitNormRotateFunction.apply(qkv, call, qNorm, kNorm);                       // each [batch, seq, heads, headDim]
        return new(
            heads[0].transpose(1, 2).MoveToOuterDisposeScope(), heads[1].transpose(1, 2).MoveToOuterDisposeScope(), heads[2].transpose(1, 2).MoveToOuterDisposeScope());
    }

    /// <inheritdoc/>
    public override Tensor SwiGlu(Tensor gateUp) => SwiGluFunction.apply(gateUp);
}
