using OpenElm.Training.Kernels.Fused;
using OpenElm.Training.Torch;
using TorchSharp;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace OpenElm.Training.Matrices;

/// <summary>
/// y = x · Wᵀ for a frozen W whose numbers are made when they are needed: dx = dy · W makes them again, so between the passes nothing is kept.
/// </summary>
internal sealed class FrozenProduct : GradientFunction<FrozenProduct>
{
    /// <inheritdoc/>
    public override string Name => nameof(FrozenProduct);

    /// <summary>vars: x […, columns] in the type of products, the <see cref="Matrix"/>.</summary>
    /// <inheritdoc/>
    protected override Tensor Result(autograd.AutogradContext ctx, object[] vars)
    {
        (Tensor x, var matrix) = ((Tensor)vars[0], (Matrix)vars[1]);
        ctx.save_data("matrix", matrix);
        using DisposeScope scope = NewDisposeScope();
        using var noGrad = no_grad();
        return functional.linear(x, matrix.Numbers(x.dtype)).MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    protected override List<Tensor> Gradients(autograd.AutogradContext ctx, Tensor outputGradient)
    {
        using DisposeScope scope = NewDisposeScope();
        using var noGrad = no_grad();
        Tensor gradient = outputGradient.matmul(((Matrix)ctx.get_data("matrix")).Numbers(outputGradient.dtype));
        outputGradient.Dispose();
        return BackwardResults.Return(gradient, null);
    }
}
