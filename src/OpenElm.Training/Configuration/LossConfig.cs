namespace OpenElm.Training;

/// <summary>The loss: cross entropy plus z-loss (openelm.md 4.1).</summary>
public sealed record LossConfig : IValidated
{
    /// <summary>Factor of logsumexp²; 0 switches the z-loss off.</summary>
    public double ZLoss { get; init; } = 1e-4;

    /// <summary>Probability mass spread evenly over the vocabulary.</summary>
    public double LabelSmoothing { get; init; }

    /// <summary>Add the constant (ln V)² of each padded position to the reported z-loss, as CoreNet does; gradients are the same.</summary>
    public bool CountPaddingInZLoss { get; init; }

    /// <inheritdoc/>
    public void Validate(string path, List<string> problems)
    {
        problems.Require(ZLoss >= 0, path, "z_loss", $"is {ZLoss}; it must be 0 or more.");
        problems.Require(LabelSmoothing is >= 0 and < 1, path, "label_smoothing", $"is {LabelSmoothing}; it must be in [0, 1).");
    }
}
