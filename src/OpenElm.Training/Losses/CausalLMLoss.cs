using OpenElm.Training.Kernels;
using TorchSharp;
using static TorchSharp.torch;

namespace OpenElm.Training.Losses;

/// <summary>Cross entropy plus z-loss over the vocabulary, a mean over the valid targets.</summary>
public sealed class CausalLMLoss
{
    readonly LossOptions _options;

    /// <summary>Creates the loss.</summary>
    /// <param name="options">Its settings.</param>
    /// <exception cref="OpenElmException">A setting is impossible.</exception>
    public CausalLMLoss(LossOptions? options = null)
    {
        _options = options ?? new LossOptions();
        var problems = new List<string>();
        _options.Validate(problems);
        if (problems is not [])
        {
            throw OpenElmException.Of("Invalid loss options", problems);
        }
    }

    /// <summary>Runs a model and computes its loss without ever holding all logits, unless its kernels are the reference's.</summary>
    /// <param name="model">The model.</param>
    /// <param name="ids">[batch, seq] token ids, int64.</param>
    /// <param name="targets">[batch, seq] the token after each, int64; <see cref="LossOptions.IgnoreIndex"/> where there is none.</param>
    /// <returns>The loss, to be disposed by the caller.</returns>
    public LossResult Compute(OpenElmModule model, Tensor ids, Tensor targets)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(ids);
        return Compute(model, ids, targets, model.LayoutOf(null, (int)ids.size(1)));
    }

    /// <summary>The same for a batch whose sequences may hold several records.</summary>
    internal LossResult Compute(OpenElmModule model, Tensor ids, Tensor targets, SequenceLayout layout)
    {
        using DisposeScope scope = NewDisposeScope();
        LossResult loss = model.Options.Kernels == KernelChoice.Reference
            ? ComputePlain(model.ComputeLogits(ids, layout), targets)
            : ComputeChunked(model.ComputeHidden(ids, layout), model.HeadWeight, targets, model.Options);
        return MoveOut(loss);
    }

    /// <summary>The specification: the loss of logits that exist in full.</summary>
    /// <param name="logits">[batch, seq, vocab].</param>
    /// <param name="targets">[batch, seq], int64.</param>
    /// <returns>The loss, to be disposed by the caller.</returns>
    public LossResult ComputePlain(Tensor logits, Tensor targets)
    {
        ArgumentNullException.ThrowIfNull(logits);
        ArgumentNullException.ThrowIfNull(targets);
        using DisposeScope scope = NewDisposeScope();
        Tensor rows = logits.flatten(0, -2).to_type(ScalarType.Float32);                      // [tokens, vocab]
        Tensor flat = targets.flatten();                                                      // [tokens]
        Tensor valid = flat.ne(Number(_options.IgnoreIndex));
        Tensor count = valid.sum().to_type(ScalarType.Float32);
        Tensor logSumExp = rows.logsumexp(-1);                                                // [tokens]
        Tensor picked = rows.gather(-1, flat.where(valid, 0).unsqueeze(-1)).squeeze(-1);
        Tensor each = logSumExp - (Number(1 - _options.LabelSmoothing) * picked);
        if (_options.LabelSmoothing > 0)
        {
            each -= Number(_options.LabelSmoothing) * rows.mean([-1]);
        }

        Tensor crossEntropy = each.where(valid, 0).sum() / count;
        Tensor z = logSumExp.square().where(valid, 0).sum() * (Number(_options.ZLossFactor) / count);
        return MoveOut(Result(crossEntropy.Plus(z), crossEntropy, z, count, valid.numel(), rows.size(1)));
    }

    /// <summary>The same loss from what the head reads; logits exist for a few rows at a time and turn into their gradient in place.</summary>
    /// <param name="hidden">[batch, seq, modelDim].</param>
    /// <param name="headWeight">[vocab, modelDim].</param>
    /// <param name="targets">[batch, seq], int64.</param>
    /// <param name="options">Types and kernels of the model.</param>
    /// <returns>The loss, to be disposed by the caller.</returns>
    internal LossResult ComputeChunked(Tensor hidden, Tensor headWeight, Tensor targets, ModuleOptions options)
    {
        using DisposeScope scope = NewDisposeScope();
        var parts = new HeadLoss.Parts();
        Tensor total = HeadLoss.apply(hidden.flatten(0, -2), headWeight, targets.flatten(), _options, options, parts);
        return MoveOut(Result(total, parts.CrossEntropy, parts.ZLoss, parts.Count, targets.numel(), headWeight.size(0)));
    }

    LossResult Result(Tensor total, Tensor crossEntropy, Tensor z, Tensor count, long targets, long vocab)
    {
        if (_options.CountIgnoredInZLoss && _options.ZLossFactor > 0)
        {
            // CoreNet multiplies ignored logits by 0, so each of those positions has logsumexp = ln vocab.
            double constant = _options.ZLossFactor * Math.Pow(Math.Log(vocab), 2);
            Tensor extra = count.neg().Plus(Number(targets)) * Number(constant) / count;
            (total, z) = (total.Plus(extra), z.Plus(extra));
        }

        return new LossResult(total, crossEntropy.detach(), z.detach(), count.detach());
    }

    static LossResult MoveOut(LossResult loss) => new(
        loss.Total.MoveToOuterDisposeScope(), loss.CrossEntropy.MoveToOuterDisposeScope(),
        loss.ZLoss.MoveToOuterDisposeScope(), loss.ValidTargets.MoveToOuterDisposeScope());
}
