using OpenElm.Configuration;
using OpenElm.Training.Kernels.Fused;
using OpenElm.Training.Torch;
using TorchSharp;
using static TorchSharp.torch;

namespace OpenElm.Training.Kernels;

/// <summary>
/// ln p(target) of single tokens from what the head reads. Logits exist for a few rows at a time, and again in the backward pass: a
/// preference loss knows the gradient of a token only when the whole response is summed, so it cannot be made in the forward pass
/// as <see cref="HeadLoss"/> does. Nothing of size [tokens, vocab] exists.
/// </summary>
/// <remarks>With p = softmax(logits) and incoming gradient g, d logits = g · (onehot(target) − p).</remarks>
internal sealed class TokenLogProbabilities : GradientFunction<TokenLogProbabilities>
{
    /// <inheritdoc/>
    public override string Name => nameof(TokenLogProbabilities);

    /// <summary>The specification: logits exist in full, and libtorch differentiates.</summary>
    /// <param name="hidden">[n, modelDim].</param>
    /// <param name="head">[vocab, modelDim].</param>
    /// <param name="targets">[n], int64.</param>
    /// <param name="productType">The type of products.</param>
    /// <returns>[n] single precision.</returns>
    public static Tensor ComputePlain(Tensor hidden, Tensor head, Tensor targets, ScalarType productType)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor logits = nn.functional.linear(hidden.to_type(productType), head.to_type(productType)).to_type(ScalarType.Float32);
        return nn.functional.log_softmax(logits, -1).gather(-1, targets.unsqueeze(-1)).squeeze(-1).MoveToOuterDisposeScope();
    }

    /// <summary>vars: hidden [n, modelDim], head [vocab, modelDim], targets [n] int64, type of products; the result is [n] in single precision.</summary>
    /// <inheritdoc/>
    protected override Tensor Result(autograd.AutogradContext ctx, object[] vars)
    {
        (Tensor hidden, Tensor head, Tensor targets, var productType) = ((Tensor)vars[0], (Tensor)vars[1], (Tensor)vars[2], (ScalarType)vars[3]);
        ctx.save_data("hidden", hidden.requires_grad);
        ctx.save_data("head", head.requires_grad);
        ctx.save_data("type", productType);
        using DisposeScope scope = NewDisposeScope();
        using var noGrad = no_grad();
        Tensor result = empty([targets.numel()], ScalarType.Float32, hidden.device), logSumExp = empty_like(result);
        foreach (Chunk chunk in Chunks(hidden, head, targets, productType))
        {
            using DisposeScope rows = NewDisposeScope();
            Tensor logits = chunk.Logits().to_type(ScalarType.Float32);
            Tensor sum = logits.logsumexp(-1);
            logSumExp[chunk.Range] = sum;
            result[chunk.Range] = logits.gather(-1, chunk.Targets.unsqueeze(-1)).squeeze(-1) - sum;
        }

        ctx.save_for_backward([hidden, head, targets, logSumExp.MoveToOuterDisposeScope()]);
        return result.MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    protected override List<Tensor> Gradients(autograd.AutogradContext ctx, Tensor outputGradient)
    {
        List<Tensor> saved = ctx.get_saved_variables();
        (Tensor hidden, Tensor head, Tensor targets, Tensor logSumExp) = (saved[0], saved[1], saved[2], saved[3]);
        var productType = (ScalarType)ctx.get_data("type");
        using DisposeScope scope = NewDisposeScope();
        using var noGrad = no_grad();
        Tensor? hiddenGrad = (bool)ctx.get_data("hidden") ? empty(hidden.shape, productType, hidden.device) : null;
        Tensor? headGrad = (bool)ctx.get_data("head") ? zeros(head.shape, ScalarType.Float32, head.device) : null;
        foreach (Chunk chunk in Chunks(hidden, head, targets, productType))
        {
            using DisposeScope rows = NewDisposeScope();
            Tensor gradient = outputGradient[chunk.Range].unsqueeze(-1);                             // [rows, 1]
            Tensor logits = chunk.Logits().to_type(ScalarType.Float32);
            logits.sub_(logSumExp[chunk.Range].unsqueeze(-1)).exp_().mul_(-gradient);
            logits.scatter_add_(-1, chunk.Targets.unsqueeze(-1), gradient);
            Tensor products = logits.to_type(productType);
            if (hiddenGrad is not null)
            {
                Dispatcher.MatMul(products, chunk.Head, hiddenGrad[chunk.Range]);
            }

            headGrad?.Add(mm(products.t(), chunk.Hidden));
        }

        Tensor? dHidden = hiddenGrad?.to_type(hidden.dtype).MoveToOuterDisposeScope(), dHead = headGrad?.to_type(head.dtype).MoveToOuterDisposeScope();
        saved.ForEach(tensor => tensor.Dispose());
        outputGradient.Dispose();
        return BackwardResults.Return(dHidden, dHead, null, null);
    }

    static IEnumerable<Chunk> Chunks(Tensor hidden, Tensor head, Tensor targets, ScalarType productType)
    {
        Tensor products = hidden.to_type(productType), weight = head.to_type(productType);
        long count = targets.numel(), rows = TrainingMemory.LossRows(head.size(0), sizeof(float));
        for (long begin = 0; begin < count; begin += rows)
        {
            var range = TensorIndex.Slice(begin, Math.Min(count, begin + rows));
            yield return new Chunk(range, products[range], weight, targets[range]);
        }
    }

    /// <param name="Range">Which rows.</param>
    /// <param name="Hidden">[rows, modelDim], in the type of products.</param>
    /// <param name="Head">[vocab, modelDim], likewise.</param>
    /// <param name="Targets">[rows].</param>
    sealed record Chunk(TensorIndex Range, Tensor Hidden, Tensor Head, Tensor Targets)
    {
        public Tensor Logits() => mm(Hidden, Head.t());                                           // [rows, vocab]
    }
}
