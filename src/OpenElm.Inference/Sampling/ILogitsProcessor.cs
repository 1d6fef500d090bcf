namespace OpenElm.Inference.Sampling;

/// <summary>Changes logits before a token is chosen, as Hugging Face's processor of the same name does. Not for two threads at once.</summary>
public interface ILogitsProcessor
{
    /// <summary>Changes the logits in place; what may not be chosen becomes −∞.</summary>
    /// <param name="tokens">[seq]: prompt and output so far.</param>
    /// <param name="logits">[candidates].</param>
    void Apply(ReadOnlySpan<int> tokens, Span<float> logits);
}
