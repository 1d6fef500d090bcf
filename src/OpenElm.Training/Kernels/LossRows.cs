using OpenElm.Training.Losses;
using static TorchSharp.torch;

namespace OpenElm.Training.Kernels;

/// <summary>The losses of rows of logits, one chunk after another, and in place their gradients.</summary>
internal abstract class LossRows
{
    /// <summary>Adds a chunk's losses; where gradients are wanted, the logits become the gradient of the mean loss.</summary>
    /// <param name="logits">[rows, vocab].</param>
    /// <param name="firstRow">Which target belongs to the first row.</param>
    public abstract void Add(Tensor logits, long firstRow);

    /// <summary>The means over valid targets.</summary>
    /// <returns>Cross entropy, z-loss with its factor, and the number of valid targets, each 0-dim single precision.</returns>
    public abstract (Tensor CrossEntropy, Tensor ZLoss, Tensor Count) Means();
}

/// <summary>One libtorch operator for each step of the formula, on any device and without waiting for it.</summary>
internal sealed class ReferenceLossRows : LossRows
{
    readonly Tensor _targets, _valid, _count, _crossEntropy, _z;
    readonly LossOptions _loss;
    readonly bool _wantsGradients;

    public ReferenceLossRows(Tensor targets, LossOptions loss, bool wantsGradients)
    {
        (_targets, _loss, _wantsGradients) = (targets, loss, wantsGradients);
        _valid = targets.ne(Number(loss.IgnoreIndex));
        _count = _valid.sum().to_type(ScalarType.Float32);
        _crossEntropy = zeros([], ScalarType.Float32, targets.device);
        _z = zeros([], ScalarType.Float32, targets.device);
    }

    /// <inheritdoc/>
    public override void Add(Tensor logits, long firstRow)
    {
        var range = TensorIndex.Slice(firstRow, firstRow + logits.size(0));
        (double smoothing, long vocab) = (_loss.LabelSmoothing, logits.size(1));
        Tensor valid = _valid[range];
        Tensor index = _targets[range].where(valid, 0).unsqueeze(-1);                         // [rows, 1]
        Tensor rows = logits.to_type(ScalarType.Float32);
        Tensor logSumExp = rows.logsumexp(-1);                                                // [rows]
        Tensor each = logSumExp - (Number(1 - smoothing) * rows.gather(-1, index).squeeze(-1));
        if (smoothing > 0)
        {
            each -= Number(smoothing) * rows.mean([-1]);
        }

        _crossEntropy.Add(each.where(valid, 0).sum());
        _z.Add(logSumExp.square().where(valid, 0).sum());
        if (!_wantsGradients)
        {
            return;
        }

        Tensor share = (valid.to_type(ScalarType.Float32) / _count).unsqueeze(-1);            // [rows, 1]
        rows.sub_(logSumExp.unsqueeze(-1)).exp_().mul_(share * (Number(2 * _loss.ZLossFactor) * logSumExp.unsqueeze(-1)).Plus(One));
        rows.scatter_add_(-1, index, Number(smoothing - 1) * share);
        if (smoothing > 0)
        {
            rows.sub_(share * Number(smoothing / vocab));
        }

        if (logits.dtype != ScalarType.Float32)
        {
            logits.copy_(rows);
        }
    }

    /// <inheritdoc/>
    public override (Tensor CrossEntropy, Tensor ZLoss, Tensor Count) Means() =>
        (_crossEntropy / _count, _z * (Number(_loss.ZLossFactor) / _count), _count);
}
