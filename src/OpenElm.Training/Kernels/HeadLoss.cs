using OpenElm.Configuration;
using OpenElm.Training.Kernels.Fused;
using OpenElm.Training.Losses;
using OpenElm.Training.Torch;
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
internal sealed class HeadLoss : GradientFunction<HeadLoss>
{
    /// <inheritdoc/>
    public override string Name => nameof(HeadLoss);

    /// <summary>The parts of the loss that carry no gradient; the forward pass fills them.</summary>
    internal sealed class Parts
    {
        public Tensor CrossEntropy { get; set; } = null!;

        public Tensor ZLoss { get; set; } = null!;

        public Tensor Count { get; set; } = null!;
    }

    /// <summary>vars: hidden [tokens, modelDim], head [vocab, modelDim], targets [tokens], loss options, module options, parts; the result is the total loss.</summary>
    /// <inheritdoc/>
    protected override Tensor Result(autograd.AutogradContext ctx, object[] vars)
    {
        (Tensor hidden, Tensor head, Tensor targets) = ((Tensor)vars[0], (Tensor)vars[1], (Tensor)vars[2]);
        (var loss, var options, var parts) = ((LossOptions)vars[3], (ModuleOptions)vars[4], (Parts)vars[5]);
        (bool wantsHidden, bool wantsHead) = (hidden.requires_grad, head.requires_grad); // a frozen head needs none
        bool wantsGradients = wantsHidden || wantsHead;
        using DisposeScope scope = NewDisposeScope();
        using var noGrad = no_grad();

        (long tokens, long vocab) = (hidden.size(0), head.size(0));
        long rows = Math.Min(tokens, loss.ChunkRows > 0 ? loss.ChunkRows : TrainingMemory.LossRows(vocab, (int)options.ProductType.ElementSize()));
        Tensor products = hidden.to_type(options.ProductType);                                // [tokens, modelDim]
        Tensor weight = head.to_type(options.ProductType);                                    // [vocab, modelDim]
        Tensor buffer = empty([rows, vocab], options.ProductType, hidden.device);
        LossRows sums = options.UsesFusedKernels
            ? new FusedLossRows(targets, loss, wantsGradients)
            : new ReferenceLossRows(targets, loss, wantsGradients);
        Tensor? hiddenGrad = wantsHidden ? empty_like(products) : null;
        Tensor? headGrad = wantsHead ? zeros(vocab, head.size(1), ScalarType.Float32, head.device) : null;
        for (long begin = 0; begin < tokens; begin += rows)
        {
            using DisposeScope chunk = NewDisposeScope();
            long end = Math.Min(tokens, begin + rows);
            var range = TensorIndex.Slice(begin, end);
            Tensor h = products[range], logits = buffer[TensorIndex.Slice(0, end - begin)];
            Dispatcher.MatMul(h, weight.t(), logits);                                         // [rows, vocab]
            sums.Add(logits, begin);
            if (hiddenGrad is not null)
            {
                Dispatcher.MatMul(logits, weight, hiddenGrad[range]);
            }

            if (headGrad is not null)
            {
                AddProduct(headGrad, logits.t(), h);
            }
        }

        (Tensor crossEntropy, Tensor z, Tensor count) = sums.Means();
        if (wantsGradients)
        {
            ctx.save_data("hidden", wantsHidden);
            ctx.save_for_backward([.. new[] { hiddenGrad?.to_type(hidden.dtype), headGrad?.to_type(head.dtype) }.OfType<Tensor>().Select(gradient => gradient.MoveToOuterDisposeScope())]);
        }

        (parts.CrossEntropy, parts.ZLoss, parts.Count) = (crossEntropy.MoveToOuterDisposeScope(), z.MoveToOuterDisposeScope(), count.MoveToOuterDisposeScope());
        return crossEntropy.Plus(z).MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    protected override List<Tensor> Gradients(autograd.AutogradContext ctx, Tensor outputGradient)
    {
        List<Tensor> saved = ctx.get_saved_variables();
        bool hasHidden = (bool)ctx.get_data("hidden");
        Tensor? hidden = hasHidden ? saved[0].mul(outputGradient) : null, head = hasHidden && saved.Count == 1 ? null : saved[^1].mul(outputGradient);
        saved.ForEach(tensor => tensor.Dispose());
        outputGradient.Dispose();
        return BackwardResults.Return(hidden, head, null, null, null, null);
    }

    // The head's gradient is summed in single precision, whatever the type of products.
    static void AddProduct(Tensor sum, Tensor a, Tensor b)
    {
        if (a.dtype == ScalarType.Float32)
        {
            sum.addmm_(a, b, 1, 1);
        }
        else
        {
            sum.Add(mm(a, b));
        }
    }
}
