using OpenElm.Training.Kernels;
using OpenElm.Training.Torch;
using TorchSharp;
using static TorchSharp.torch;

namespace OpenElm.Training.Gpu;

/// <summary>
/// Attention of one layer by libtorch's operators, whose backward passes are called directly, so that they can be recorded with everything else; queries, keys
/// and values are views, so nothing is copied on the way in. Single precision and head sizes that no fast kernel takes go through the reference kernels and autograd.
/// </summary>
/// <param name="backend">Whose kernels, for sequences of one record; several are flash attention's.</param>
/// <param name="isDeterministic">Whether the gradients have the same bits every time.</param>
internal sealed class GpuAttention(AttentionBackend backend, bool isDeterministic) : IDisposable
{
    Tensor? _q, _k, _v, _y;
    AttentionResult? _result;
    PackedRecords? _records; // of the last forward pass

    /// <summary>Chooses as libtorch does.</summary>
    /// <param name="heads">Heads of the shape that is to be computed.</param>
    /// <param name="isDeterministic">Whether the gradients must have the same bits every time.</param>
    /// <returns>cuDNN's kernels or flash attention's, or those of autograd (<see cref="AttentionBackend.Math"/>).</returns>
    public static AttentionBackend Choose(QueryKeyValue heads, bool isDeterministic)
    {
        if (heads.Q.dtype == ScalarType.Float32 || heads.Q.device_type == DeviceType.CPU) // an emulated GPU's tensors are the processor's
        {
            return AttentionBackend.Math;
        }

        using var determinism = Determinism.During(isDeterministic);
        return Dispatcher.AttentionChoice(heads.Q, heads.K, heads.V) is var choice && choice is AttentionBackend.Cudnn or AttentionBackend.Flash ? choice : AttentionBackend.Math;
    }

    /// <param name="heads">[batch, heads, seq, headDim] queries, keys and values, token after token in memory.</param>
    /// <param name="records">The records, where sequences hold several.</param>
    /// <returns>[batch, seq, queryHeads, headDim], contiguous; the caller's, and as long as the backward pass is not made, ours too.</returns>
    public Tensor Forward(QueryKeyValue heads, PackedRecords? records)
    {
        using DisposeScope scope = NewDisposeScope();
        _records = records;
        if (backend == AttentionBackend.Math)
        {
            return ByAutograd(heads, records);
        }

        if (records is null && backend == AttentionBackend.Cudnn)
        {
            (_q, _k, _v) = (heads.Q.alias().DetachFromDisposeScope(), heads.K.alias().DetachFromDisposeScope(), heads.V.alias().DetachFromDisposeScope());
            _result = CudaAttention.Cudnn(_q, _k, _v).Keep();
            return ByToken(_result.Output).DetachFromDisposeScope();
        }

        (_q, _k, _v) = (ForFlash(heads.Q), ForFlash(heads.K), ForFlash(heads.V));
        _result = CudaAttention.Flash(_q, _k, _v, records?.Starts, records?.Longest ?? heads.Q.size(2)).Keep();
        return _result.Output.view(heads.Q.size(0), heads.Q.size(2), heads.Q.size(1), heads.Q.size(3)).DetachFromDisposeScope();

        Tensor ForFlash(Tensor views) => (records is null ? views.transpose(1, 2) : views.transpose(1, 2).flatten(0, 1)).DetachFromDisposeScope(); // [batch, seq, …] or [tokens, …]
    }

    /// <param name="dy">[batch, seq, queryHeads, headDim].</param>
    /// <returns>Gradients of queries, keys and values, token after token in memory, to be disposed.</returns>
    public (Tensor Q, Tensor K, Tensor V) Backward(Tensor dy)
    {
        using DisposeScope scope = NewDisposeScope();
        (Tensor q, Tensor k, Tensor v) = Gradients(dy);
        (q, k, v) = (q.DetachFromDisposeScope(), k.DetachFromDisposeScope(), v.DetachFromDisposeScope());
        Release();
        return (q, k, v);
    }

    /// <summary>Drops what the backward pass would need.</summary>
    public void Release()
    {
        foreach (Tensor? tensor in new[] { _q, _k, _v, _y })
        {
            tensor?.Dispose();
        }

        _result?.Dispose();
        (_q, _k, _v, _y, _result, _records) = (null, null, null, null, null, null);
    }

    public void Dispose() => Release();

    (Tensor Q, Tensor K, Tensor V) Gradients(Tensor dy)
    {
        if (backend == AttentionBackend.Math)
        {
            IList<Tensor> gradients = autograd.grad([_y!], [_q!, _k!, _v!], [dy.transpose(1, 2)]);
            return (ByToken(gradients[0]), ByToken(gradients[1]), ByToken(gradients[2]));
        }

        if (_records is null && backend == AttentionBackend.Cudnn)
        {
            (Tensor q, Tensor k, Tensor v) = CudaAttention.CudnnGradients(dy.transpose(1, 2), _q!, _k!, _v!, _result!);
            return (ByToken(q), ByToken(k), ByToken(v));
        }

        using var determinism = Determinism.During(isDeterministic);
        (Tensor dq, Tensor dk, Tensor dv) = CudaAttention.FlashGradients(_records is null ? dy : dy.flatten(0, 1), _q!, _k!, _v!, _result!);
        return (dq.contiguous(), dk.contiguous(), dv.contiguous());
    }

    Tensor ByAutograd(QueryKeyValue heads, PackedRecords? records)
    {
        using var grad = enable_grad();
        (_q, _k, _v) = (Leaf(heads.Q), Leaf(heads.K), Leaf(heads.V));
        Tensor y = new ReferenceKernels().Attend(new(_q, _k, _v), new(null!, null!, 0, records?.Segments ?? default))
            .view(_q.size(0), _q.size(2), _q.size(1), _q.size(3)).transpose(1, 2);      // [batch, queryHeads, seq, headDim]
        _y = y.DetachFromDisposeScope();
        return ByToken(y.detach()).DetachFromDisposeScope();
    }

    static Tensor Leaf(Tensor view) => view.detach().requires_grad_(true).DetachFromDisposeScope();

    // All libraries lay their results out token after token; where one does not, it is copied.
    static Tensor ByToken(Tensor heads) => heads.transpose(1, 2).contiguous();
}
