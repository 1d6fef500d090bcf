using static TorchSharp.torch;

namespace OpenElm.Training.Losses;

/// <summary>The training loss (section 4.1 of the reference).</summary>
public sealed record LossOptions
{
    /// <summary>The factor of the z-loss; 0 leaves it out. OpenELM trains with 1e-4.</summary>
    public double ZLossFactor { get; init; } = 1e-4;

    /// <summary>Targets with this id count for nothing.</summary>
    public long IgnoreIndex { get; init; } = -1;

    /// <summary>The share of the target's probability spread over the vocabulary.</summary>
    public double LabelSmoothing { get; init; }

    /// <summary>
    /// Whether ignored positions add their constant (ln vocab)² to the reported z-loss, as CoreNet prints it. Gradients are
    /// the same either way.
    /// </summary>
    public bool CountIgnoredInZLoss { get; init; }

    /// <summary>Rows of logits that exist at once in the chunked loss; 0 chooses by the size of the vocabulary.</summary>
    public int ChunkRows { get; init; }

    /// <summary>Checks every field.</summary>
    /// <param name="problems">The list to add to.</param>
    public void Validate(List<string> problems)
    {
        ArgumentNullException.ThrowIfNull(problems);
        if (!(ZLossFactor >= 0) || !double.IsFinite(ZLossFactor))
        {
            problems.Add($"the z-loss factor is {ZLossFactor}; it must be 0 or more");
        }

        if (LabelSmoothing is not (>= 0 and < 1))
        {
            problems.Add($"the label smoothing is {LabelSmoothing}; it must be in [0, 1)");
        }

        if (ChunkRows < 0)
        {
            problems.Add($"the chunk rows are {ChunkRows}; they must be 0 or more");
        }
    }
}

/// <summary>A loss and its parts, 0-dim single-precision tensors on the model's device; reading one on a GPU waits for it.</summary>
/// <param name="Total">Cross entropy plus z-loss; the one that carries the gradient.</param>
/// <param name="CrossEntropy">Mean over valid targets; without gradient.</param>
/// <param name="ZLoss">Its factor included; without gradient.</param>
/// <param name="ValidTargets">How many targets counted.</param>
public sealed record LossResult(Tensor Total, Tensor CrossEntropy, Tensor ZLoss, Tensor ValidTargets) : IDisposable
{
    /// <inheritdoc/>
    public void Dispose()
    {
        Total.Dispose();
        CrossEntropy.Dispose();
        ZLoss.Dispose();
        ValidTargets.Dispose();
    }
}
