using OpenElm.Training.Kernels.Fused;
using TorchSharp;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace OpenElm.Training.Matrices;

/// <summary>
/// y = x · Wᵀ for a frozen W whose numbers are made when they are needed: dx = dy · W makes them again, so between the passes nothing is kept.
/// </summary>
internal sealed class FrozenProduct : autograd.SingleTensorFunction<FrozenProduct>
{
    /// <inheritdoc/>
    public override string Name => nameof(FrozenProduct);

    /// <summary>vars: x […, columns] in the type of products, the <see cref="Matrix"/>.</summary>
    /// <inheritdoc/>
    public override Tensor forward(autograd.AutogradContext ctx, params object[] vars)
    {
        (Tensor x, var matrix) = ((Tensor)vars[0], (Matrix)vars[1]);
        ctx.save_data("matrix", matrix);
        using DisposeScope scope = NewDisposeScope();
        using var noGrad = no_grad();
        return functional.linear(x, matrix.Numbers(x.dtype)).MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public override List<Tensor> backward(autograd.AutogradContext ctx, Tensor grad_output)
    {
        using DisposeScope scope = NewDisposeScope();
        using var noGrad = no_grad();
        Tensor gradient = grad_output.matmul(((Matrix)ctx.get_data("matrix")).Numbers(grad_output.dtype));
        grad_output.Dispose();
        return BackwardResults.Return(gradient, null);
    }
}
