namespace OpenElm.Inference;

/// <summary>
/// One sequence: how long it is, and its keys and values, allocated here, so that decoding allocates nothing. Not for two threads at once.
/// Made by <see cref="OpenElmModel.CreateState"/>.
/// </summary>
public sealed class SequenceState : IDisposable
{
    internal SequenceState(OpenElmModel model, int capacity) => (Model, Cache) = (model, model.Backend.CreateCache(capacity));

    /// <summary>Tokens fed so far.</summary>
    public int Length { get; private set; }

    /// <summary>The longest sequence this state holds.</summary>
    public int Capacity => Cache.Capacity;

    internal OpenElmModel Model { get; }

    internal SequenceCache Cache { get; }

    /// <summary>Of a model on the CPU.</summary>
    internal KvCache CpuCache => (KvCache)Cache;

    /// <summary>Forgets the tokens behind a position, so that others can follow it.</summary>
    /// <param name="length">How many tokens stay.</param>
    public void Truncate(int length)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(length, Length);
        Length = length;
    }

    /// <summary>Becomes a copy of another sequence of the same model.</summary>
    /// <param name="other">The other; stays as it is.</param>
    /// <param name="from">Positions before this one are known to be the same in both and are not copied.</param>
    /// <exception cref="OpenElmException">The other sequence is longer than this state holds.</exception>
    public void CopyFrom(SequenceState other, int from = 0)
    {
        ArgumentNullException.ThrowIfNull(other);
        ArgumentOutOfRangeException.ThrowIfNegative(from);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(from, Math.Min(Length, other.Length));
        if (other.Model != Model)
        {
            throw new ArgumentException("The state was made by another model.", nameof(other));
        }

        if (other.Length > Capacity)
        {
            throw new OpenElmException($"The sequence has {other.Length} tokens; this state holds {Capacity}.");
        }

        Cache.CopyFrom(other.Cache, from, other.Length);
        Length = other.Length;
    }

    /// <summary>Becomes the beginning of another sequence of the same model.</summary>
    /// <param name="other">The other; stays as it is.</param>
    /// <param name="length">How many of its tokens, at most <see cref="Capacity"/>.</param>
    internal void BeginLike(SequenceState other, int length)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(length, Math.Min(other.Length, Capacity));
        Cache.CopyFrom(other.Cache, 0, length);
        Length = length;
    }

    /// <inheritdoc/>
    public void Dispose() => Cache.Dispose();

    internal void Advance(int tokens) => Length += tokens;
}
