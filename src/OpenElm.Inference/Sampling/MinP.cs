using System.Numerics.Tensors;

namespace OpenElm.Inference.Sampling;

/// <summary>Drops tokens whose probability is below a share of the likeliest token's.</summary>
/// <param name="share">In [0, 1]; the likeliest always stays.</param>
public sealed class MinP(double share) : ILogitsProcessor
{
    readonly float _share = (float)share;

    /// <inheritdoc/>
    public void Apply(ReadOnlySpan<int> tokens, Span<float> logits)
    {
        float largest = TensorPrimitives.Max<float>(logits);
        foreach (ref float logit in logits)
        {
            // Both probabilities have the same denominator, so it cancels.
            logit = MathF.Exp(logit - largest) < _share ? float.NegativeInfinity : logit;
        }
    }
}
