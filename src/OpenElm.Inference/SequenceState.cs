using OpenElm.Configuration;
using OpenElm.Inference.Threading;

namespace OpenElm.Inference;

/// <summary>
/// What one sequence needs: its KV cache and the buffers of a forward pass, all allocated here, so that decoding allocates
/// nothing. Not for two threads at once. Made by <see cref="OpenElmModel.CreateState"/>.
/// </summary>
public sealed class SequenceState : IDisposable
{
    /// <summary>Tokens that go through the layers together; longer prompts go in several runs.</summary>
    internal const int LongestRun = 96;

    internal SequenceState(OpenElmModel model, int capacity)
    {
        OpenElmConfig config = model.Config;
        long run = Math.Min(LongestRun, capacity);
        long headDim = config.HeadDim;
        (Model, Cache) = (model, new KvCache(config, capacity));
        X = new NativeFloats(checked(run * config.ModelDim));
        Normed = new NativeFloats(checked(run * config.ModelDim));
        Projected = new NativeFloats(checked(run * config.ModelDim));
        Qkv = new NativeFloats(checked(run * headDim * config.Layers.Max(layer => layer.QueryHeads + (2 * layer.KvHeads))));
        Heads = new NativeFloats(checked(run * headDim * config.Layers.Max(layer => layer.QueryHeads)));
        Gate = new NativeFloats(checked(run * config.Layers.Max(layer => layer.FfnDim)));
        Up = new NativeFloats(checked(run * config.Layers.Max(layer => layer.FfnDim)));
        Scores = new NativeFloats(checked((long)capacity * model.Threads));
        (MatMul, Attention) = (new MatMulJob(model.Kernels), new AttentionJob(model.Kernels, this));
    }

    /// <summary>Tokens fed so far.</summary>
    public int Length { get; private set; }

    /// <summary>The longest sequence this state holds.</summary>
    public int Capacity => Cache.Capacity;

    internal OpenElmModel Model { get; }

    internal KvCache Cache { get; }

    /// <summary>[run, modelDim]: the residual stream.</summary>
    internal NativeFloats X { get; }

    /// <summary>[run, modelDim]: its normalised copy.</summary>
    internal NativeFloats Normed { get; }

    /// <summary>[run, modelDim]: what attention or the feed-forward network adds to it.</summary>
    internal NativeFloats Projected { get; }

    /// <summary>[run, (queryHeads + 2 · kvHeads) · headDim].</summary>
    internal NativeFloats Qkv { get; }

    /// <summary>[run, queryHeads · headDim]: attention before its output projection.</summary>
    internal NativeFloats Heads { get; }

    /// <summary>[run, ffnDim].</summary>
    internal NativeFloats Gate { get; }

    /// <summary>[run, ffnDim].</summary>
    internal NativeFloats Up { get; }

    /// <summary>[threads, capacity]: scratch of attention.</summary>
    internal NativeFloats Scores { get; }

    internal MatMulJob MatMul { get; }

    internal AttentionJob Attention { get; }

    /// <summary>Forgets the tokens behind a position, so that others can follow it.</summary>
    /// <param name="length">How many tokens stay.</param>
    public void Truncate(int length)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(length, Length);
        Length = length;
    }

    /// <summary>Takes over the tokens of another sequence of the same model.</summary>
    /// <param name="other">The sequence to copy.</param>
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

    /// <inheritdoc/>
    public void Dispose()
    {
        Cache.Dispose();
        foreach (NativeFloats buffer in new[] { X, Normed, Projected, Qkv, Heads, Gate, Up, Scores })
        {
            buffer.Dispose();
        }
    }

    internal void Advance(int tokens) => Length += tokens;
}
