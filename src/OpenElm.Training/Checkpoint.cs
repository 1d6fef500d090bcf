using OpenElm.Training.Kernels.Fused;
using OpenElm.Training.Torch;
using TorchSharp;
using static TorchSharp.torch;

namespace OpenElm.Training;

/// <summary>
/// Activation checkpointing of one layer: the forward pass keeps the layer's input only; the backward pass computes the
/// layer again and differentiates it. The arithmetic is the same, so the gradients are the same bits.
/// </summary>
/// <remarks>Dropout's masks are a function of <see cref="Adapters.AdapterCollection.Dropout"/>, so there is no random state to restore.</remarks>
internal sealed class Checkpoint : GradientFunction<Checkpoint>
{
    /// <inheritdoc/>
    public override string Name => nameof(Checkpoint);

    /// <summary>Runs a layer.</summary>
    /// <param name="layer">The layer.</param>
    /// <param name="x">[batch, seq, modelDim].</param>
    /// <param name="layout">Positions, and which of them see each other.</param>
    /// <param name="beforeBackward">Called before the layer is computed again.</param>
    /// <returns>[batch, seq, modelDim].</returns>
    public static Tensor Run(DecoderLayer layer, Tensor x, SequenceLayout layout, Action beforeBackward) =>
        // Without a gradient to send back there would be no node, and the layer's weights would get none: the first layer behind a frozen
        // embedding gets an input that wants one.
        is_grad_enabled() ? apply(x.requires_grad ? x : x.detach().requires_grad_(true), layer, layout, beforeBackward) : layer.call(x, layout);

    /// <inheritdoc/>
    protected override Tensor Result(autograd.AutogradContext ctx, object[] vars)
    {
        (Tensor x, var layer, var layout) = ((Tensor)vars[0], (DecoderLayer)vars[1], (SequenceLayout)vars[2]);
        ctx.save_for_backward([x]);
        ctx.save_data("layer", layer);
        ctx.save_data("layout", layout);
        ctx.save_data("beforeBackward", vars[3]);
        using var noGrad = no_grad();
        return layer.call(x, layout);
    }

    /// <inheritdoc/>
    protected override List<Tensor> Gradients(autograd.AutogradContext ctx, Tensor outputGradient)
    {
        using DisposeScope scope = NewDisposeScope();
        ((Action)ctx.get_data("beforeBackward"))();
        Tensor x = ctx.get_saved_variables()[0].detach().requires_grad_(true);
        using (enable_grad())
        {
            Tensor y = ((DecoderLayer)ctx.get_data("layer")).call(x, (SequenceLayout)ctx.get_data("layout"));
            y.backward([outputGradient]);
        }

        outputGradient.Dispose();
        return BackwardResults.Return(x.grad!, null, null, null);
    }
}
