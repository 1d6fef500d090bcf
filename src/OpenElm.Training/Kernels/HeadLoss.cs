using OpenElm.Training.Losses;
using TorchSharp;
using static TorchSharp.torch;

namespace OpenElm.Training.Kernels;

/// <summary>
/// Head and loss as one function: logits of a few rows at a time, turned in place into their gradient, which goes into the
/// gradients of the hidden states and of the head at once. Nothing of size [tokens, vocab] exists.
/// </summary>
/// <remarks>
/// With p = softmax(logits), L = logsumexp, n valid targets, smoothing s and z-loss factor c, a valid row has
/// d logits = (p · (1 + 2cL) − (1 − s) · onehot − s/vocab) / n; an ignored row has 0.
/// The gradients are made in the forward pass, while the logits are there; the backward pass only scales them.
/// </remarks>
internal sealed class HeadLoss : autograd.MultiTensorFunction<HeadLoss>
{
    const long ChunkBytes = 16L << 20; // a chunk should stay in the last-level cache between its three passes

    /// <inheritdoc/>
    public override string Name => nameof(HeadLoss);

    /// <summary>vars: hidden [tokens, modelDim], head [vocab, modelDim], targets [tokens], loss options, module options.</summary>
    /// <inheritdoc/>
    public override List<Tensor> forward(autograd.AutogradContext ctx, params object[] vars)
    {
        (Tensor hidden, Tensor head, Tensor targets) = ((Tensor)vars[0], (Tensor)vars[1], (Tensor)vars[2]);
        (var loss, var options) = ((LossOptions)vars[3], (ModuleOptions)vars[4]);
        ctx.set_materialize_grads(false); // the zeros TorchSharp would make belong to a scope that has ended by then
        bool wantsGradients = hidden.requires_grad || head.requires_grad;
        using DisposeScope scope = NewDisposeScope();
        using var noGrad = no_grad();

        (long tokens, long vocab) = (hidden.size(0), head.size(0));
        long rows = loss.ChunkRows > 0 ? loss.ChunkRows : Math.Clamp(ChunkBytes / (vocab * sizeof(float)), 16, tokens);
        Tensor products = hidden.to_type(options.ProductType);
        Tensor weight = head.to_type(options.ProductType);
        Tensor valid = targets.ne(loss.IgnoreIndex);
        Tensor count = valid.sum().to_type(ScalarType.Float32);
        Tensor crossEntropy = zeros([], ScalarType.Float32, hidden.device);
        Tensor z = zeros([], ScalarType.Float32, hidden.device);
        Tensor? hiddenGrad = wantsGradients ? empty_like(products) : null;
        Tensor? headGrad = wantsGradients ? zeros(vocab, head.size(1), ScalarType.Float32, head.device) : null;
        for (long begin = 0; begin < tokens; begin += rows)
        {
            using DisposeScope chunk = NewDisposeScope();
            var range = TensorIndex.Slice(begin, Math.Min(tokens, begin + rows));
            Tensor h = products[range];                                                       // [rows, modelDim]
            Tensor logits = matmul(h, weight.t()).to_type(ScalarType.Float32);                // [rows, vocab]
            Rows(logits, targets[range], valid[range], count, loss, crossEntropy, z, wantsGradients);
            if (wantsGradients)
            {
                Tensor gradient = logits.to_type(options.ProductType);
                hiddenGrad![range].copy_(matmul(gradient, weight));
                headGrad!.add_(matmul(gradient.t(), h));
            }
        }

        crossEntropy.div_(count);
        z.mul_(loss.ZLossFactor).div_(count);
        if (wantsGradients)
        {
            ctx.save_for_backward([hiddenGrad!.to_type(hidden.dtype).DetachFromDisposeScope(), headGrad!.to_type(head.dtype).DetachFromDisposeScope()]);
        }

        return [(crossEntropy + z).MoveToOuterDisposeScope(), crossEntropy.MoveToOuterDisposeScope(), z.MoveToOuterDisposeScope(), count.MoveToOuterDisposeScope()];
    }

    /// <inheritdoc/>
    public override List<Tensor> backward(autograd.AutogradContext ctx, List<Tensor> grad_outputs)
    {
        List<Tensor> saved = ctx.get_saved_variables();
        return [saved[0].mul(grad_outputs[0]), saved[1].mul(grad_outputs[0]), null!, null!, null!];
    }

    // Adds the rows' sums to the losses and turns the logits into their gradient.
    static void Rows(Tensor logits, Tensor targets, Tensor valid, Tensor count, LossOptions loss, Tensor crossEntropy, Tensor z, bool wantsGradients)
    {
        (double smoothing, double factor, long vocab) = (loss.LabelSmoothing, loss.ZLossFactor, logits.size(1));
        Tensor logSumExp = logits.logsumexp(-1);                                              // [rows]
        Tensor index = targets.where(valid, 0).unsqueeze(-1);                                 // [rows, 1]
        Tensor each = logSumExp - ((1 - smoothing) * logits.gather(-1, index).squeeze(-1));
        if (smoothing > 0)
        {
            each -= smoothing * logits.mean([-1]);
        }

        crossEntropy.add_(each.where(valid, 0).sum());
        z.add_(logSumExp.square().where(valid, 0).sum());
        if (!wantsGradients)
        {
            return;
        }

        Tensor share = (valid.to_type(ScalarType.Float32) / count).unsqueeze(-1);            // [rows, 1]
        logits.sub_(logSumExp.unsqueeze(-1)).exp_().mul_(share * (1 + (2 * factor * logSumExp.unsqueeze(-1))));
        logits.scatter_add_(-1, index, (smoothing - 1) * share);
        if (smoothing > 0)
        {
            logits.sub_(share * (smoothing / vocab));
        }
    }
}
