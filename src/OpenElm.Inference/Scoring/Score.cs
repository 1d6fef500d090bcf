using System.Collections.Immutable;

namespace OpenElm.Inference.Scoring;

/// <summary>How likely a model finds tokens.</summary>
/// <param name="LogProbabilities">Natural logarithms, one for each token scored.</param>
/// <param name="IsGreedy">Whether each of them is the likeliest at its place.</param>
public sealed record Score(ImmutableArray<double> LogProbabilities, bool IsGreedy)
{
    /// <summary>The likeliest token at each place.</summary>
    public ImmutableArray<int> Likeliest { get; init; } = [];

    /// <summary>The logarithm of their joint probability.</summary>
    public double Sum { get; } = LogProbabilities.Sum();
}
