namespace OpenElm.Inference.Sampling;

/// <summary>Logits in, token out. Not for two threads at once.</summary>
public interface ISampler
{
    /// <summary>Chooses the next token.</summary>
    /// <param name="tokens">[seq]: prompt and output so far.</param>
    /// <param name="logits">[candidates]; changed.</param>
    /// <returns>The id.</returns>
    int Sample(ReadOnlySpan<int> tokens, Span<float> logits);
}
