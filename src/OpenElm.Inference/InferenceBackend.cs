using OpenElm.Adapters;
using OpenElm.Checkpoints;
using OpenElm.Configuration;
using OpenElm.Inference.Sampling;

namespace OpenElm.Inference;

/// <summary>Where a model is loaded to, if not to the CPU; a GPU is one (<c>OpenElm.Inference.Cuda</c>).</summary>
public abstract class InferenceDevice
{
    internal InferenceDevice()
    {
    }

    /// <summary>The product's name.</summary>
    public abstract string Name { get; }

    internal abstract InferenceBackend Load(OpenElmConfig config, IReadOnlyDictionary<string, StoredWeight> weights, IReadOnlyList<ScaledAdapter> adapters, InferenceOptions options);
}

/// <summary>A model's weights where they are computed with, and the computation: rows of tokens in, logits out. <see cref="OpenElmModel"/> checks what comes in and lets one caller in at a time.</summary>
internal abstract class InferenceBackend : IDisposable
{
    /// <summary>The kernels in use.</summary>
    public abstract string Name { get; }

    /// <summary>Threads of the processor that work for it.</summary>
    public abstract int Threads { get; }

    /// <summary>Bytes of weights that a token reads.</summary>
    public abstract long WeightBytes { get; }

    /// <summary>How past positions are kept.</summary>
    public abstract KvCacheType KvCacheType { get; }

    /// <summary>Allocates keys and values of one sequence.</summary>
    public abstract SequenceCache CreateCache(int capacity);

    /// <summary>Runs the tokens of several sequences, each on top of what its cache holds.</summary>
    /// <param name="batch">The sequences; their lengths are those before the tokens.</param>
    /// <param name="tokens">The tokens of the first sequence, then those of the second, …</param>
    /// <param name="logits">[wanted rows, vocab], in the same order.</param>
    public abstract void Run(ReadOnlySpan<SequenceRun> batch, ReadOnlySpan<int> tokens, Span<float> logits);

    /// <summary>Runs the tokens of a sequence, and chooses the most likely one behind them where the model computes: nothing else comes to the host.</summary>
    /// <param name="state">The sequence; its length is that before the tokens.</param>
    /// <param name="tokens">The tokens.</param>
    /// <param name="candidates">Ids below this may be chosen.</param>
    /// <param name="logit">The chosen token's.</param>
    /// <returns>The token; null where the backend leaves choosing to the caller and nothing was run.</returns>
    public virtual int? Choose(SequenceState state, ReadOnlySpan<int> tokens, int candidates, out float logit)
    {
        logit = 0;
        return null;
    }

    /// <summary>Begins to choose tokens where the model computes, several steps ahead of the caller.</summary>
    /// <param name="cache">The sequence's cache.</param>
    /// <param name="token">The token to feed first.</param>
    /// <param name="position">Its position.</param>
    /// <param name="candidates">Ids below this may be chosen.</param>
    /// <param name="rule">How; null takes the most likely.</param>
    /// <returns>The chain; null where the backend has none.</returns>
    public virtual TokenChain? Begin(SequenceCache cache, int token, int position, int candidates, DrawRule? rule) => null;

    /// <summary>Begins to choose the most likely tokens of several sequences side by side.</summary>
    /// <param name="caches">The sequences' caches.</param>
    /// <param name="tokens">The tokens to feed first.</param>
    /// <param name="positions">Their positions.</param>
    /// <param name="candidates">Ids below this may be chosen.</param>
    /// <returns>The chain; null where the backend has none.</returns>
    public virtual BatchChain? BeginGreedy(IReadOnlyList<SequenceCache> caches, ReadOnlySpan<int> tokens, ReadOnlySpan<int> positions, int candidates) => null;

    /// <summary>Where the time of generating one token goes.</summary>
    /// <param name="cache">A sequence's cache; what is in it is overwritten.</param>
    /// <param name="position">The token's position there.</param>
    /// <returns>The phases; none where the backend does not know.</returns>
    public virtual IReadOnlyList<StepPhase> ProfileStep(SequenceCache cache, int position) => [];

    /// <summary>Where the time of a pass over many rows goes.</summary>
    /// <param name="batch">The sequences.</param>
    /// <param name="tokens">As for <see cref="Run"/>.</param>
    /// <returns>Kernels by name; none where the backend does not know.</returns>
    public virtual IReadOnlyList<StepPhase> ProfilePass(ReadOnlySpan<SequenceRun> batch, ReadOnlySpan<int> tokens) => [];

    /// <summary>Bytes a second of weights that are only read.</summary>
    public abstract double MeasureReadBandwidth();

    /// <inheritdoc/>
    public abstract void Dispose();
}

/// <summary>Keys and values of one sequence, where its backend keeps them.</summary>
internal abstract class SequenceCache : IDisposable
{
    /// <summary>The longest sequence.</summary>
    public abstract int Capacity { get; }

    /// <summary>Copies positions of another cache of the same model; those before the first are the same in both.</summary>
    /// <param name="source">The other.</param>
    /// <param name="first">The first position.</param>
    /// <param name="end">Behind the last position.</param>
    public abstract void CopyFrom(SequenceCache source, int first, int end);

    /// <inheritdoc/>
    public abstract void Dispose();
}

/// <summary>Chosen tokens one after another, computed ahead. The sequence's cache belongs to it until it is disposed.</summary>
internal abstract class TokenChain : IDisposable
{
    /// <summary>Feeds one token and waits for what follows it.</summary>
    /// <param name="logit">The largest logit.</param>
    /// <returns>The chosen token.</returns>
    public abstract int Next(out float logit);

    /// <inheritdoc/>
    public abstract void Dispose();
}

/// <summary>The most likely tokens of several sequences, step after step, computed ahead. Their caches belong to it until it is disposed.</summary>
internal abstract class BatchChain : IDisposable
{
    /// <summary>Feeds a token of each sequence and waits for what follows them.</summary>
    /// <param name="tokens">The chosen tokens.</param>
    public abstract void Next(Span<int> tokens);

    /// <inheritdoc/>
    public abstract void Dispose();
}
