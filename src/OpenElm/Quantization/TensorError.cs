namespace OpenElm.Quantization;

/// <summary>What quantising did to a weight.</summary>
/// <param name="Elements">How many numbers.</param>
/// <param name="SquaredError">Σ (before − after)².</param>
/// <param name="SquaredWeights">Σ before².</param>
public readonly record struct TensorError(long Elements, double SquaredError, double SquaredWeights)
{
    /// <summary>The root-mean-square error.</summary>
    public double Rmse => Math.Sqrt(SquaredError / Math.Max(1, Elements));

    /// <summary>The root-mean-square error relative to that of the weights; 0 where all are 0.</summary>
    public double RelativeRmse => SquaredWeights > 0 ? Math.Sqrt(SquaredError / SquaredWeights) : 0;

    /// <summary>The errors of two weights together.</summary>
    /// <param name="left">One.</param>
    /// <param name="right">The other.</param>
    /// <returns>Their sums.</returns>
    public static TensorError operator +(TensorError left, TensorError right) =>
        new(left.Elements + right.Elements, left.SquaredError + right.SquaredError, left.SquaredWeights + right.SquaredWeights);

    /// <summary>The errors of two weights together.</summary>
    /// <param name="left">One.</param>
    /// <param name="right">The other.</param>
    /// <returns>Their sums.</returns>
    public static TensorError Add(TensorError left, TensorError right) => left + right;
}
