using System.Collections.Immutable;

namespace OpenElm.Verification.Golden;

/// <summary>Which error an allowance limits.</summary>
public enum GoldenMeasure
{
    /// <summary>The largest |ours − golden| of an element.</summary>
    Absolute,

    /// <summary>‖ours − golden‖₂ / ‖golden‖₂ of a tensor, or |ours − golden| / |golden| of a number.</summary>
    Relative,
}

/// <summary>How a file ended.</summary>
public enum GoldenStatus
{
    /// <summary>Every comparison is within its allowance.</summary>
    Passed,

    /// <summary>A comparison is not.</summary>
    Failed,

    /// <summary>The runtime cannot run this file.</summary>
    NotApplicable,
}

/// <summary>One comparison: a tensor or a number.</summary>
/// <param name="Name">What was compared, by its key in the file.</param>
/// <param name="MaxAbsoluteError">The largest |ours − golden|.</param>
/// <param name="RelativeError">The relative norm of the difference.</param>
/// <param name="Measure">Which of both is limited.</param>
/// <param name="Allowance">The limit.</param>
public sealed record GoldenCheck(string Name, double MaxAbsoluteError, double RelativeError, GoldenMeasure Measure, double Allowance)
{
    /// <summary>The error that is limited.</summary>
    public double Error => Measure == GoldenMeasure.Absolute ? MaxAbsoluteError : RelativeError;

    /// <summary>Whether it is within the allowance; NaN is not.</summary>
    public bool Passed => Error <= Allowance;
}

/// <summary>One row of the report.</summary>
/// <param name="File">The file, without its ending.</param>
/// <param name="Kind">What it holds, in the words of <c>golden.json</c>.</param>
/// <param name="Status">How it ended.</param>
/// <param name="Checks">Its comparisons; empty if it was not applicable.</param>
/// <param name="Reason">Why it was not applicable; else null.</param>
public sealed record GoldenResult(string File, string Kind, GoldenStatus Status, ImmutableArray<GoldenCheck> Checks, string? Reason = null)
{
    /// <summary>The comparison that comes closest to its allowance, or exceeds it most; null if there is none.</summary>
    public GoldenCheck? Worst => MostExcessive(Checks);

    /// <summary>The worst of the comparisons that one measure limits; null if there is none.</summary>
    /// <param name="measure">The measure.</param>
    /// <returns>The comparison.</returns>
    public GoldenCheck? WorstOf(GoldenMeasure measure) => MostExcessive(Checks.Where(check => check.Measure == measure));

    internal static GoldenResult Of(string file, string kind, IEnumerable<GoldenCheck> checks)
    {
        ImmutableArray<GoldenCheck> all = [.. checks];
        return new(file, kind, all.All(check => check.Passed) ? GoldenStatus.Passed : GoldenStatus.Failed, all);
    }

    static GoldenCheck? MostExcessive(IEnumerable<GoldenCheck> checks) =>
        checks.MaxBy(check => double.IsNaN(check.Error) ? double.PositiveInfinity : check.Error / check.Allowance);

    internal static GoldenResult NotApplicable(string file, string kind, string reason) => new(file, kind, GoldenStatus.NotApplicable, [], reason);
}
