using System.Collections.Immutable;
using OpenElm.Data;
using TorchSharp;
using static TorchSharp.torch;

namespace OpenElm.Training.Objectives;

/// <summary>What the reference model says of the two responses of a pair.</summary>
/// <param name="Chosen">ln π_ref of the chosen one, a sum over its tokens.</param>
/// <param name="Rejected">ln π_ref of the rejected one.</param>
public readonly record struct PairLogProbabilities(float Chosen, float Rejected);

/// <summary>
/// What the reference model says of all pairs of a set. It is computed before training begins, with the model that will be trained, so
/// that no second model is in memory.
/// </summary>
/// <param name="Pairs">By the pair's number in its set.</param>
public sealed record ReferenceLogProbabilities(ImmutableArray<PairLogProbabilities> Pairs)
{
    /// <summary>A pair's.</summary>
    /// <param name="pair">Its number.</param>
    public PairLogProbabilities this[int pair] => Pairs[pair];

    /// <summary>Computes them.</summary>
    /// <param name="model">The reference model.</param>
    /// <param name="set">The pairs.</param>
    /// <param name="microBatch">Pairs of a batch.</param>
    /// <param name="progress">Told the number of pairs done.</param>
    /// <param name="cancel">Ends it early.</param>
    /// <returns>The log-probabilities.</returns>
    /// <exception cref="OpenElmException">The model gives no finite number for a pair.</exception>
    public static ReferenceLogProbabilities Compute(OpenElmModule model, PreferenceSet set, int microBatch, Action<int>? progress = null, CancellationToken cancel = default)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(set);
        using var noGrad = no_grad();
        var pairs = ImmutableArray.CreateBuilder<PairLogProbabilities>(set.Pairs.Length);
        foreach (PreferenceBatch batch in PreferenceStream.Once(set, microBatch))
        {
            cancel.ThrowIfCancellationRequested();
            using DisposeScope scope = NewDisposeScope();
            float[] sums = [.. ResponseScores.Of(model, batch.Sequences).LogProbabilities.cpu().data<float>()];
            int count = batch.Pairs.Length;
            for (int i = 0; i < count; i++)
            {
                pairs.Add(float.IsFinite(sums[i] + sums[count + i])
                    ? new(sums[i], sums[count + i])
                    : throw new OpenElmException($"The model of the run gives no finite probability to {set.Pairs[batch.Pairs[i]].Origin}; its weights are damaged, or its precision is too small."));
            }

            progress?.Invoke(pairs.Count);
        }

        return new(pairs.MoveToImmutable());
    }
}
