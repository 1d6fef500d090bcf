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
    public override QueryKeyValue SplitNormRotate(Tensor qkv, Tensor? qNorm, Tensor? kNorm, SequenceLayout layout, AttentionShape shape) =>
        _reference.SplitNormRotate(qkv, qNorm, kNorm, layout, shape);

    /// <inheritdoc/>
    public override Tensor Attend(QueryKeyValue heads, SequenceLayout layout)
    {
        using DisposeScope scope = NewDisposeScope();
        (Tensor q, Tensor k, Tensor v) = heads;
        Tensor y = layout.IsPacked
            ? cat([.. layout.Segments.Select(segment => Together(Dispatcher.Attention(Of(q, segment), Of(k, segment), Of(v, segment), causal: true)))], dim: 1)
            : Together(Dispatcher.Attention(q, k, v, causal: true));                  // [batch, seq, queryHeads, headDim]
        return y.reshape(q.size(0), q.size(2), q.size(1) * q.size(3)).MoveToOuterDisposeScope();

        static Tensor Of(Tensor heads, Segment segment) => heads.narrow(0, segment.Row, 1).narrow(2, segment.Start, segment.Length);

        static Tensor Together(Tensor heads) => heads.transpose(1, 2);
    }

    /// <inheritdoc/>
    public override Tensor SwiGlu(Tensor gateUp) => _reference.SwiGlu(gateUp);
}
