namespace OpenElm.Training.Reporting;

/// <summary>A share that was counted.</summary>
/// <param name="Share">The share, 0 to 1.</param>
/// <param name="Count">Out of how many.</param>
public readonly record struct Proportion(double Share, long Count)
{
    const double Z = 1.959963984540054; // a normal variable is this far from its mean in 5 % of all cases

    /// <summary>The lower end of Wilson's score interval at 95 %.</summary>
    public double Low => Math.Max(0, Centre - HalfWidth);

    /// <summary>The upper end.</summary>
    public double High => Math.Min(1, Centre + HalfWidth);

    /// <summary>The share and its interval, to read.</summary>
    /// <returns>Such as <c>0.7250 of 200 (95 % interval 0.6593 to 0.7822)</c>.</returns>
    public override string ToString() => FormattableString.Invariant($"{Share:f4} of {Count} (95 % interval {Low:f4} to {High:f4})");

    double Centre => (Share + (Z * Z / (2 * Count))) / (1 + (Z * Z / Count));

    double HalfWidth => Z / (1 + (Z * Z / Count)) * Math.Sqrt((Share * (1 - Share) / Count) + (Z * Z / (4.0 * Count * Count)));
}
