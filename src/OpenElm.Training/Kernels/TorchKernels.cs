using OpenElm.Training.Torch;
using TorchSharp;
using static TorchSharp.torch;

namespace OpenElm.Training.Kernels;

/// <summary>libtorch's fused operators where it has them: attention without an expanded copy of keys and values; RMSNorm on a GPU.</summary>
internal class TorchKernels : TrainingKernels
{
    readonly ReferenceKernels _reference = new();

    /// <inheritdoc/>
    public override Tensor RmsNorm(Tensor x, Tensor weight, double eps)
    {
        // libtorch rounds once, after the weight; that is the same formula only where nothing is rounded in between.
        // On the CPU its operator is no faster than the single steps.
        bool sameFormula = x.dtype == ScalarType.Float32 && weight.dtype == ScalarType.Float32;
        return sameFormula && x.device_type != DeviceType.CPU ? Dispatcher.RmsNorm(x, weight, eps) : _reference.RmsNorm(x, weight, eps);
    }

    /// <inheritdoc/>
    public override QueryKeyValue SplitNormRotate(Tensor qkv, Tensor? qNorm, Tensor? kNorm, RopeTable rope, AttentionShape shape) =>
        _reference.SplitNormRotate(qkv, qNorm, kNorm, rope, shape);

    /// <inheritdoc/>
    public override Tensor Attend(QueryKeyValue heads)
    {
        using DisposeScope scope = NewDisposeScope();
        (Tensor q, Tensor k, Tensor v) = heads;
        Tensor y = Dispatcher.Attention(q, k, v, causal: true);                       // [batch, queryHeads, seq, headDim]
        return y.transpose(1, 2).reshape(q.size(0), q.size(2), q.size(1) * q.size(3)).MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public override Tensor SwiGlu(Tensor gateUp) => _reference.SwiGlu(gateUp);
}
