using OpenElm.Configuration;

namespace OpenElm;

/// <summary>
/// A language model as scoring and evaluation see it: token ids in, logits out. Both runtimes and test doubles implement it.
/// </summary>
public interface ICausalLM
{
    /// <summary>The architecture.</summary>
    OpenElmConfig Config { get; }

    /// <summary>Runs one sequence and writes the logits of its later positions.</summary>
    /// <param name="tokens">[seq] token ids, counted from position 0.</param>
    /// <param name="firstPosition">The first position whose logits are wanted; earlier ones are not computed.</param>
    /// <param name="logits">[seq − firstPosition, vocab]: row r predicts the token after position firstPosition + r.</param>
    /// <exception cref="OpenElmException">No token, too many tokens, or an id outside the vocabulary.</exception>
    void ComputeLogits(ReadOnlySpan<int> tokens, int firstPosition, Span<float> logits);
}
