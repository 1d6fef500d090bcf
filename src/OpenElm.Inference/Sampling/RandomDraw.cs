namespace OpenElm.Inference.Sampling;

/// <summary>Draws from softmax(logits); the same seed gives the same draws.</summary>
/// <param name="processors">Applied before.</param>
/// <param name="seed">Of the draws.</param>
public sealed class RandomDraw(ILogitsProcessor processors, int seed) : ISampler
{
    /// <summary>Where the draws come from; a draft model shares it, for one stream of numbers has no hidden correlations.</summary>
    internal Random Random { get; } = new(seed);

    /// <inheritdoc/>
    public int Sample(ReadOnlySpan<int> tokens, Span<float> logits)
    {
        processors.Apply(tokens, logits);
        double sum = Distribution.Weigh(logits);
        return Distribution.Draw(logits, sum, Random);
    }

    /// <summary>
    /// Takes a token that was drawn from another distribution q with probability min(1, p/q), else draws from what p has more
    /// than q: so the result is distributed as p, whatever q is (speculative sampling, arXiv 2211.17192).
    /// </summary>
    /// <param name="tokens">[seq]: prompt and output so far.</param>
    /// <param name="logits">[candidates]; changed.</param>
    /// <param name="proposal">The token drawn from q.</param>
    /// <param name="proposed">[candidates]: q.</param>
    /// <returns>The id.</returns>
    internal int Verify(ReadOnlySpan<int> tokens, Span<float> logits, int proposal, ReadOnlySpan<float> proposed)
    {
        processors.Apply(tokens, logits);
        double sum = Distribution.Weigh(logits);
        if (Random.NextDouble() * proposed[proposal] * sum < logits[proposal])
        {
            return proposal;
        }

        double left = 0;
        for (int i = 0; i < logits.Length; i++)
        {
            logits[i] = (float)Math.Max(0, logits[i] - (proposed[i] * sum));
            left += logits[i];
        }

        return left > 0 ? Distribution.Draw(logits, left, Random) : proposal; // p and q differ by rounding only
    }
}
