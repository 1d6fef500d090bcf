using System.Numerics.Tensors;

namespace OpenElm.Inference.Sampling;

/// <summary>Takes the largest logit; of equal ones the first.</summary>
/// <param name="processors">Applied before.</param>
public sealed class Greedy(ILogitsProcessor processors) : ISampler
{
    /// <inheritdoc/>
    public int Sample(ReadOnlySpan<int> tokens, Span<float> logits)
    {
        processors.Apply(tokens, logits);
        return TensorPrimitives.IndexOfMax<float>(logits);
    }
}
