using OpenElm.Inference.Sampling;

namespace OpenElm.Inference.Generation;

/// <summary>A sequence state that knows the tokens it holds, so that a sequence that begins alike need not be fed again.</summary>
/// <param name="model">The model.</param>
internal sealed class FedTokens(OpenElmModel model) : IDisposable
{
    SequenceState? _state;
    int[] _tokens = [];

    /// <summary>Makes room for a sequence; what the state holds stays.</summary>
    /// <param name="capacity">Tokens that will be fed in all.</param>
    public void Reserve(int capacity)
    {
        if (_state?.Capacity >= capacity)
        {
            return;
        }

        // A conversation grows bit by bit: doubling copies each token a few times only.
        SequenceState larger = model.CreateState(Math.Max(capacity, Math.Min(model.MaxLength, 2 * _tokens.Length)));
        if (_state is not null)
        {
            larger.CopyFrom(_state);
            _state.Dispose();
        }

        _state = larger;
        Array.Resize(ref _tokens, larger.Capacity);
    }

    /// <summary>Forgets all but the beginning that a sequence shares; its last token is always forgotten, for it predicts the next.</summary>
    /// <param name="sequence">[seq], at least one token.</param>
    /// <returns>How many tokens stay.</returns>
    public int KeepPrefixOf(ReadOnlySpan<int> sequence)
    {
        int kept = _tokens.AsSpan(0, _state!.Length).CommonPrefixLength(sequence[..^1]);
        _state.Truncate(kept);
        return kept;
    }

    /// <summary>Feeds tokens, on top of those that stay.</summary>
    /// <param name="tokens">[seq].</param>
    /// <param name="rows">How many of the last tokens' logits are wanted.</param>
    /// <param name="logits">[rows, vocab].</param>
    public void Feed(ReadOnlySpan<int> tokens, int rows, Span<float> logits)
    {
        int before = _state!.Length;
        model.Forward(tokens, _state, rows, logits);
        tokens.CopyTo(_tokens.AsSpan(before));
    }

    /// <summary>Feeds tokens, on top of those that stay, and chooses the most likely one behind them where the model computes.</summary>
    /// <param name="tokens">[seq].</param>
    /// <param name="candidates">Ids below this may be chosen.</param>
    /// <param name="logit">The chosen token's.</param>
    /// <returns>The token; null where the model does not choose: then nothing was fed.</returns>
    public int? Choose(ReadOnlySpan<int> tokens, int candidates, out float logit)
    {
        int before = _state!.Length;
        int? chosen = model.Choose(tokens, _state, candidates, out logit);
        if (chosen is not null)
        {
            tokens.CopyTo(_tokens.AsSpan(before));
        }

        return chosen;
    }

    /// <summary>Begins to choose tokens where the model computes; nothing else may be fed until the chain is disposed.</summary>
    /// <param name="token">The token to feed first.</param>
    /// <param name="candidates">Ids below this may be chosen.</param>
    /// <param name="rule">How; null takes the most likely.</param>
    /// <returns>The chain; null where there is none.</returns>
    public TokenChain? Begin(int token, int candidates, DrawRule? rule) => model.Begin(token, _state!, candidates, rule);

    /// <summary>Feeds one token through a chain.</summary>
    /// <param name="chain">The chain.</param>
    /// <param name="token">The token that the chain feeds next.</param>
    /// <param name="logit">The largest logit.</param>
    /// <returns>The chosen token.</returns>
    public int Next(TokenChain chain, int token, out float logit)
    {
        int chosen = chain.Next(out logit);
        _tokens[_state!.Length] = token;
        _state.Advance(1);
        return chosen;
    }

    /// <inheritdoc/>
    public void Dispose() => _state?.Dispose();
}
