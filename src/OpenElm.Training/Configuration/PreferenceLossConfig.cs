namespace OpenElm.Training;

/// <summary>
/// The loss of a pair of responses (openelm.md 7.2), a function of Δ = [ln π(chosen) − ln π(rejected)] − [ln π_ref(chosen) − ln π_ref(rejected)],
/// where each term is a sum over the tokens of the response.
/// </summary>
public sealed record PreferenceLossConfig : IValidated
{
    /// <summary>Its form.</summary>
    public PreferenceLossKind Kind { get; init; } = PreferenceLossKind.Sigmoid;

    /// <summary>β: how much a nat of log-probability counts as reward; the smaller, the farther the model may leave the reference.</summary>
    public double Beta { get; init; } = 0.01;

    /// <summary>ε of <c>sigmoid</c>: the share of pairs expected to be labelled the wrong way round (conservative DPO).</summary>
    public double LabelSmoothing { get; init; }

    /// <inheritdoc/>
    public void Validate(string path, List<string> problems)
    {
        problems.Require(Beta > 0 && double.IsFinite(Beta), path, "beta", $"is {Beta}; it must be a positive number.");
        problems.Require(LabelSmoothing is >= 0 and < 0.5, path, "label_smoothing", $"is {LabelSmoothing}; it must be in [0, 0.5): from one half on, pairs would say nothing or the opposite.");
        problems.Require(LabelSmoothing == 0 || Kind == PreferenceLossKind.Sigmoid, path, "label_smoothing", $"is {LabelSmoothing}; only kind sigmoid knows label smoothing, so set it to 0.");
    }
}

/// <summary>The form of a preference loss.</summary>
public enum PreferenceLossKind
{
    /// <summary>−(1 − ε)·ln σ(βΔ) − ε·ln σ(−βΔ): direct preference optimization (Rafailov et al. 2023).</summary>
    Sigmoid,

    /// <summary>max(0, 1 − βΔ): SLiC, the loss of statistical rejection sampling (Liu et al. 2024).</summary>
    Hinge,

    /// <summary>(Δ − 1/(2β))²: IPO (Azar et al. 2023), on sums as in the paper (trl takes means over tokens).</summary>
    Ipo,
}
