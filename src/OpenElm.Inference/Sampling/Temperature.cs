using System.Numerics.Tensors;

namespace OpenElm.Inference.Sampling;

/// <summary>logits / temperature.</summary>
/// <param name="temperature">Below 1 sharpens, above 1 flattens.</param>
public sealed class Temperature(double temperature) : ILogitsProcessor
{
    readonly float _temperature = (float)temperature;

    /// <inheritdoc/>
    public void Apply(ReadOnlySpan<int> tokens, Span<float> logits) => TensorPrimitives.Divide(logits, _temperature, logits);
}
