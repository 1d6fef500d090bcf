using System.Collections.Immutable;
using System.Globalization;

namespace OpenElm.Verification.Conversion;

/// <summary>How far a converted model is from its source.</summary>
/// <param name="Differences">What the architectures differ in; none in a faithful conversion.</param>
/// <param name="Allowance">The limit of the logits' relative error.</param>
public sealed record ConversionReport(ImmutableArray<string> Differences, ConversionAllowance Allowance)
{
    /// <summary>The weight that is furthest off; null if architectures differ.</summary>
    public WeightCheck? WorstWeight { get; init; }

    /// <summary>The logits of both; null if they were not run.</summary>
    public LogitErrors? Logits { get; init; }

    /// <summary>Whether the result may take its place; NaN is not within an allowance.</summary>
    public bool Passed => Differences is [] && WorstWeight is { Passed: true } && (Logits is null || Logits.RelativeError <= Allowance.RelativeError);

    /// <summary>Refuses a result that is too far off.</summary>
    /// <exception cref="OpenElmException">It is.</exception>
    public void RequirePassed()
    {
        if (!Passed)
        {
            throw new OpenElmException(Differences is []
                ? $"The converted model computes something else and was not kept: {this}."
                : $"The converted model is another one and was not kept: {string.Join("; ", Differences)}.");
        }
    }

    /// <inheritdoc/>
    public override string ToString()
    {
        string weights = WorstWeight is not { } worst ? "weights were not compared"
            : worst.RelativeError == 0 ? "all weights are unchanged"
            : string.Create(CultureInfo.InvariantCulture, $"weights differ by at most {worst.RelativeError:g3} of their size ({worst.Allowed:g2} allowed; {worst.Weight})");
        string logits = Logits is null ? "models were not run" : string.Create(CultureInfo.InvariantCulture, $"{Logits} ({Allowance.RelativeError:g2} relative error allowed: {Allowance.Name})");
        return $"{weights}; {logits}";
    }
}
