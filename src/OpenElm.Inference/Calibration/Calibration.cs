using OpenElm.Quantization;

namespace OpenElm.Inference.Calibration;

/// <summary>What a calibration text told about a model.</summary>
/// <param name="Importance">How much an error in each column of each matrix counts.</param>
/// <param name="LargestActivation">The largest number, without its sign, that went into a product or stood in the residual stream.</param>
/// <param name="LargestPlace">Where.</param>
public sealed record Calibration(ImportanceWeights Importance, float LargestActivation, string LargestPlace)
{
    const float LargestHalf = 65504;

    /// <summary>A sentence for the user, if a program that computes in fp16 would overflow; else null. OpenELM-3B is known for it.</summary>
    public string? HalfOverflow => LargestActivation > LargestHalf
        ? $"Activations reach {LargestActivation:G4} ({LargestPlace}); fp16 ends at {LargestHalf}. A program that computes in fp16 gives no numbers with this model, as with OpenELM-3B: use bf16 there."
        : null;
}
