namespace OpenElm.Verification.Golden;

/// <summary>How far a float32 runtime may be from the reference, which is float32 too: only the order of sums may differ.</summary>
public static class GoldenAllowances
{
    /// <summary>Logits, absolute: they are of order 1 to 10, so this is some ten units in the last place.</summary>
    public const double Logits = 2e-5;

    /// <summary>Losses, absolute: means over all targets, so errors of single logits average out.</summary>
    public const double Losses = 1e-5;

    /// <summary>Gradients, relative norm of each tensor: single elements near zero may differ more.</summary>
    public const double Gradients = 1e-4;

    /// <summary>Losses and gradient norms of a trajectory, relative: differences grow with each update.</summary>
    public const double Trajectory = 1e-4;

    /// <summary>Learning rates of a trajectory, absolute: the schedule rounds to eight decimals, the file holds them unrounded.</summary>
    public const double LearningRates = 0.5e-8 + 1e-12;

    /// <summary>Weights after a trajectory, absolute.</summary>
    public const double FinalWeights = 1e-5;

    /// <summary>Logits behind a processor, absolute: one or two roundings of numbers of order 10.</summary>
    public const double Sampling = 2e-6;

    /// <summary>Outputs, gradients and merged weights of an adapter, relative norm of each tensor: one layer, a few hundred summands.</summary>
    public const double Adapters = 1e-5;
}
