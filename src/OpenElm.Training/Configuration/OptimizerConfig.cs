namespace OpenElm.Training;

/// <summary>AdamW (openelm.md 4.2): weight decay on matrices, none on vectors.</summary>
public sealed record OptimizerConfig : IValidated
{
    /// <summary>Decay of the gradient's mean.</summary>
    public double Beta1 { get; init; } = 0.9;

    /// <summary>Decay of the gradient's square.</summary>
    public double Beta2 { get; init; } = 0.95;

    /// <summary>Added to the root of the second moment.</summary>
    public double Epsilon { get; init; } = 1e-8;

    /// <summary>Decoupled weight decay of tensors with two dimensions or more.</summary>
    public double WeightDecay { get; init; } = 0.1;

    /// <inheritdoc/>
    public void Validate(string path, List<string> problems)
    {
        problems.Require(Beta1 is >= 0 and < 1, path, "beta1", $"is {Beta1}; it must be in [0, 1).");
        problems.Require(Beta2 is >= 0 and < 1, path, "beta2", $"is {Beta2}; it must be in [0, 1).");
        problems.Require(Epsilon > 0, path, "epsilon", $"is {Epsilon}; it must be positive.");
        problems.Require(WeightDecay >= 0, path, "weight_decay", $"is {WeightDecay}; it must be 0 or more.");
    }
}
