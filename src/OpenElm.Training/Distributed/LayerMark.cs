using OpenElm.Training.Kernels.Fused;
using OpenElm.Training.Torch;
using static TorchSharp.torch;

namespace OpenElm.Training.Distributed;

/// <summary>
/// The identity, at the input of a layer: its backward function runs when everything behind it is done, so when the gradients of the layer's weights are
/// complete (autograd takes the youngest of the nodes that are ready, and weights' gradients before any).
/// </summary>
internal sealed class LayerMark : GradientFunction<LayerMark>
{
    /// <inheritdoc/>
    public override string Name => nameof(LayerMark);

    /// <summary>Marks the input of a layer.</summary>
    /// <param name="x">The input.</param>
    /// <param name="watch">Whom to tell.</param>
    /// <param name="layer">Which layer.</param>
    /// <returns>The same numbers.</returns>
    public static Tensor Put(Tensor x, ILayerWatch watch, int layer) => is_grad_enabled() && x.requires_grad ? apply(x, watch, layer) : x;

    /// <inheritdoc/>
    protected override Tensor Result(autograd.AutogradContext ctx, object[] vars)
    {
        ctx.save_data("watch", vars[1]);
        ctx.save_data("layer", vars[2]);
        return ((Tensor)vars[0]).alias();
    }

    /// <inheritdoc/>
    protected override List<Tensor> Gradients(autograd.AutogradContext ctx, Tensor outputGradient)
    {
        ((ILayerWatch)ctx.get_data("watch")).AfterBackward((int)ctx.get_data("layer"));
        return BackwardResults.Return(outputGradient, null, null);
    }
}
