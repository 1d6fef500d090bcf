using OpenElm.Training.Kernels.Fused;
using static TorchSharp.torch;

namespace OpenElm.Training.Adapters;

/// <summary>
/// Dropout whose mask comes from a seed: y = x ⊙ keep / (1 − p). The backward pass draws the mask again, so nothing but the seed is kept.
/// </summary>
internal sealed class SeededDropout : autograd.SingleTensorFunction<SeededDropout>
{
    /// <inheritdoc/>
    public override string Name => nameof(SeededDropout);

    /// <summary>vars: x, the share to zero, the seed.</summary>
    /// <inheritdoc/>
    public override Tensor forward(autograd.AutogradContext ctx, params object[] vars)
    {
        (Tensor x, double share, ulong seed) = ((Tensor)vars[0], (double)vars[1], (ulong)vars[2]);
        ctx.save_data("share", share);
        ctx.save_data("seed", seed);
        return Masked(x, share, seed);
    }

    /// <inheritdoc/>
    public override List<Tensor> backward(autograd.AutogradContext ctx, Tensor grad_output)
    {
        Tensor gradient = Masked(grad_output, (double)ctx.get_data("share"), (ulong)ctx.get_data("seed"));
        grad_output.Dispose();
        return BackwardResults.Return(gradient, null, null);
    }

    // The mask is drawn in the order of a contiguous tensor, whatever the strides of x.
    static Tensor Masked(Tensor x, double share, ulong seed)
    {
        using var noGrad = no_grad();
        using var generator = new Generator(seed, x.device);
        return empty(x.shape, x.dtype, x.device).bernoulli_(1 - share, generator).mul_(1 / (1 - share)).mul_(x);
    }
}
