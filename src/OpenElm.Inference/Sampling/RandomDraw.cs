namespace OpenElm.Inference.Sampling;

/// <summary>Draws from softmax(logits); the same seed gives the same draws.</summary>
/// <param name="processors">Applied before.</param>
/// <param name="seed">Of the draws.</param>
public sealed class RandomDraw(ILogitsProcessor processors, int seed) : ISampler
{
    readonly Random _random = new(seed);

    /// <inheritdoc/>
    public int Sample(ReadOnlySpan<int> tokens, Span<float> logits)
    {
        processors.Apply(tokens, logits);
        double sum = Distribution.Weigh(logits);
        return Distribution.Draw(logits, sum, _random);
    }
}
