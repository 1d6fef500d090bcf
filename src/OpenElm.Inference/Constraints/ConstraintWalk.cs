namespace OpenElm.Inference.Constraints;

/// <summary>Where one output stands in its constraint.</summary>
/// <param name="masks">The constraint over the vocabulary.</param>
/// <param name="atStart">Whether no text comes before the output, so that its first blank is dropped.</param>
internal sealed class ConstraintWalk(TokenMasks masks, bool atStart)
{
    AutomatonState _state = masks.Start;
    bool _atStart = atStart;

    /// <summary>Whether the output matches and nothing may follow.</summary>
    public bool IsComplete => _state.IsFinal;

    /// <summary>Makes tokens impossible that may not follow.</summary>
    /// <param name="logits">[candidates]; the others become −∞.</param>
    public void Mask(Span<float> logits)
    {
        ReadOnlySpan<ulong> mask = masks.Mask(_state, _atStart);
        for (int word = 0; word < mask.Length; word++)
        {
            Span<float> part = logits[(word * 64)..Math.Min(logits.Length, (word * 64) + 64)];
            if (mask[word] == 0)
            {
                part.Fill(float.NegativeInfinity);
                continue;
            }

            for (int bit = 0; bit < part.Length; bit++)
            {
                part[bit] = (mask[word] >> bit & 1) == 0 ? float.NegativeInfinity : part[bit];
            }
        }
    }

    /// <summary>Takes a token that does not end the output.</summary>
    /// <param name="token">The id.</param>
    public void Advance(int token)
    {
        _state = masks.Step(_state, token, _atStart);
        _atStart = false;
    }

    /// <summary>Another output that stands here.</summary>
    /// <returns>The copy.</returns>
    public ConstraintWalk Copy() => (ConstraintWalk)MemberwiseClone();

    /// <summary>Stands where another output stands.</summary>
    /// <param name="other">An output with the same constraint.</param>
    public void CopyFrom(ConstraintWalk other) => (_state, _atStart) = (other._state, other._atStart);
}
