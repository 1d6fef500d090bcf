using OpenElm.Training.Losses;
using OpenElm.Training.Torch;
using static TorchSharp.torch;

namespace OpenElm.Training.Kernels.Fused;

/// <summary>Losses and gradients in three passes over a row that stays in the cache: its maximum, the exponentials, the gradient.</summary>
internal sealed class FusedLossRows : LossRows
{
    const long Grain = 4;

    readonly Tensor _targets;
    readonly LossOptions _loss;
    readonly bool _wantsGradients;
    readonly long _count;
    double _crossEntropy, _z;

    public FusedLossRows(Tensor targets, LossOptions loss, bool wantsGradients)
    {
        (_targets, _loss, _wantsGradients) = (targets.contiguous(), loss, wantsGradients);
        _count = targets.ne(Number(loss.IgnoreIndex)).sum().item<long>();
    }

    /// <inheritdoc/>
    public override unsafe void Add(Tensor logits, long firstRow)
    {
        (long rows, int vocab) = (logits.size(0), checked((int)logits.size(1)));
        var source = new FloatRows(logits, vocab);
        nint targets = Dispatcher.DataPointer(_targets);
        long badTarget = _loss.IgnoreIndex;
        double[] crossEntropy = new double[rows], z = new double[rows];
        RowLoop.For(rows, Grain, (begin, end) =>
        {
            float[] buffer = source.Rounds ? RowBuffers.Take(0, vocab) : [];
            for (long row = begin; row < end; row++)
            {
                long target = ((long*)targets)[firstRow + row];
                Span<float> values = source.Read(row, buffer);
                if (target == _loss.IgnoreIndex)
                {
                    values.Clear();
                }
                else if (target < 0 || target >= vocab)
                {
                    Volatile.Write(ref badTarget, target); // an exception must not cross libtorch's frames
                }
                else
                {
                    (crossEntropy[row], z[row]) = Row(values, (int)target);
                }

                if (_wantsGradients)
                {
                    source.Write(row, values);
                }
            }
        });

        if (badTarget != _loss.IgnoreIndex)
        {
            throw new ArgumentException($"The target {badTarget} is neither in the vocabulary of {vocab} nor the ignored id {_loss.IgnoreIndex}.");
        }

        // Added in the order of the rows, so that the sums do not depend on the threads.
        (_crossEntropy, _z) = (_crossEntropy + crossEntropy.Sum(), _z + z.Sum());
    }

    /// <inheritdoc/>
    public override (Tensor CrossEntropy, Tensor ZLoss, Tensor Count) Means() =>
        (tensor((float)(_crossEntropy / _count)), tensor((float)(_loss.ZLossFactor * _z / _count)), tensor((float)_count));

    (double CrossEntropy, double SquaredLogSumExp) Row(Span<float> logits, int target)
    {
        double smoothing = _loss.LabelSmoothing, picked = logits[target];
        (double logSumExp, double sum, double mean) = CrossEntropyRow.Exponentiate(logits, smoothing > 0);
        if (_wantsGradients)
        {
            double share = 1.0 / _count;
            CrossEntropyRow.Scale(logits, (float)(share * (1 + (2 * _loss.ZLossFactor * logSumExp)) / sum), (float)(-smoothing * share / logits.Length));
            logits[target] -= (float)((1 - smoothing) * share);
        }

        return (logSumExp - ((1 - smoothing) * picked) - (smoothing * mean), logSumExp * logSumExp);
    }
}
