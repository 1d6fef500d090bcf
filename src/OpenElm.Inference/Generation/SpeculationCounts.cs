namespace OpenElm.Inference.Generation;

/// <summary>What speculation did in one run.</summary>
/// <param name="Passes">Passes of the model that verified proposals.</param>
/// <param name="Proposed">Tokens proposed.</param>
/// <param name="Accepted">Tokens of these that the model chose too.</param>
public readonly record struct SpeculationCounts(int Passes, int Proposed, int Accepted)
{
    /// <summary>Accepted ÷ proposed; NaN where nothing was proposed.</summary>
    public double AcceptanceRate => (double)Accepted / Proposed;
}
