using OpenElm.Training.Kernels;
using OpenElm.Training.Torch;
using TorchSharp;
using static TorchSharp.torch;

namespace OpenElm.Training.Gpu;

/// <summary>
/// Attention of one layer by libtorch, which picks cuDNN's or flash attention's kernels, between buffers of ours. It is the one operator
/// whose gradient autograd computes; queries, keys and values are views, so nothing is copied on the way in.
/// </summary>
internal sealed class GpuAttention : IDisposable
{
    Tensor? _q, _k, _v, _y;

    /// <param name="heads">Queries, keys and values, token after token in memory.</param>
    /// <returns>[batch, seq, queryHeads, headDim], contiguous; lives until <see cref="Release"/>.</returns>
    public Tensor Forward(QueryKeyValue heads)
    {
        using var grad = enable_grad();
        using DisposeScope scope = NewDisposeScope();
        (_q, _k, _v) = (Leaf(heads.Q), Leaf(heads.K), Leaf(heads.V));
        Tensor y = heads.Q.dtype == ScalarType.Float32
            ? new ReferenceKernels().Attend(new(_q, _k, _v), Causal).view(_q.size(0), _q.size(2), _q.size(1), _q.size(3)).transpose(1, 2)
            : Dispatcher.Attention(_q, _k, _v, causal: true);                           // [batch, queryHeads, seq, headDim]
        _y = y.DetachFromDisposeScope();
        return ByToken(y.detach()).DetachFromDisposeScope();
    }

    /// <param name="dy">[batch, seq, queryHeads, headDim].</param>
    /// <returns>Gradients of queries, keys and values, [batch, seq, heads, headDim] each, to be disposed.</returns>
    public (Tensor Q, Tensor K, Tensor V) Backward(Tensor dy)
    {
        using DisposeScope scope = NewDisposeScope();
        IList<Tensor> gradients = autograd.grad([_y!], [_q!, _k!, _v!], [dy.transpose(1, 2)]);
        Tensor[] byToken = [.. gradients.Select(gradient => ByToken(gradient).DetachFromDisposeScope())];
        Release();
        return (byToken[0], byToken[1], byToken[2]);
    }

    /// <summary>Drops what the backward pass would need.</summary>
    public void Release()
    {
        foreach (Tensor? tensor in new[] { _q, _k, _v, _y })
        {
            tensor?.Dispose();
        }

        (_q, _k, _v, _y) = (null, null, null, null);
    }

    public void Dispose() => Release();

    static SequenceLayout Causal => new(null!, null!, 0, default);

    static Tensor Leaf(Tensor view) => view.detach().requires_grad_(true).DetachFromDisposeScope();

    // Both libraries lay their results out token after token; where one does not, it is copied.
    static Tensor ByToken(Tensor heads) => heads.transpose(1, 2).contiguous();
}
