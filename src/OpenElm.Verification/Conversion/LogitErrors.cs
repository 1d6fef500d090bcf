using System.Globalization;

namespace OpenElm.Verification.Conversion;

/// <summary>How far the logits of two models are apart.</summary>
/// <param name="Positions">Positions that were compared.</param>
/// <param name="MaxError">The largest difference of a logit.</param>
/// <param name="MeanError">The mean of the absolute differences.</param>
/// <param name="RelativeError">Root of the mean square of the differences, relative to the spread of the first model's logits; 1.4 for unrelated models.</param>
/// <param name="Top1Agreement">Share of the positions with the same likeliest token.</param>
public sealed record LogitErrors(int Positions, double MaxError, double MeanError, double RelativeError, double Top1Agreement)
{
    /// <inheritdoc/>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture,
        $"logits of {Positions} positions differ by at most {MaxError:g3}, on average by {MeanError:g3}; relative error {RelativeError:g3}; same likeliest token {Top1Agreement:p1}");
}
