using System.Collections.Immutable;
using OpenElm.Adapters;
using OpenElm.Checkpoints;
using OpenElm.Configuration;
using OpenElm.Inference.Calibration;
using OpenElm.Inference.Kernels;
using OpenElm.Inference.Sampling;

namespace OpenElm.Inference;

/// <summary>
/// A loaded model, on the CPU or on a device of <see cref="InferenceOptions.Device"/>. The weights are shared by all sequences; each sequence brings a <see cref="SequenceState"/>. Several threads may
/// call it with different sequences; their passes run one after the other. The architecture itself is <see cref="ForwardPass"/> on the CPU.
/// </summary>
public sealed class OpenElmModel : ICausalLM, IDisposable
{
    internal const string DamagedOrOverflow = "its weights are damaged, or overflow";
    const string HalfOverflow = "its weights are stored in fp16, where numbers beyond 65504 become infinite, which OpenELM-3B is known for: convert the original to bf16";

    readonly InferenceBackend _backend;
    readonly Lock _oneAtATime = new();
    readonly Action<string>? _warn;
    int _warnedOfLength;
    volatile bool _disposed;

    OpenElmModel(OpenElmConfig config, Func<IReadOnlyList<ScaledAdapter>, InferenceBackend> load, InferenceOptions options)
    {
        (Config, _warn) = (config, options.Warn);
        MaxLength = options.MaxLength ?? config.RopeMaxLength;
        var adapters = new List<ScaledAdapter>();
        try
        {
            foreach (AdapterPath adapter in options.Adapters)
            {
                adapters.Add(new ScaledAdapter(Adapter.Open(adapter.Path, config), adapter.Scale));
                adapters[^1].Adapter.Notes.ToList().ForEach(note => _warn?.Invoke(note));
            }

            _backend = load(adapters);
        }
        finally
        {
            adapters.ForEach(adapter => adapter.Adapter.Dispose());
        }
    }

    /// <inheritdoc/>
    public OpenElmConfig Config { get; }

    /// <summary>The longest sequence: <c>rope_max_length</c>, or what <see cref="InferenceOptions.MaxLength"/> says.</summary>
    public int MaxLength { get; }

    /// <summary>The name of the kernel set in use.</summary>
    public string KernelName => _backend.Name;

    /// <summary>The kernel sets that this machine runs, fastest first; <see cref="InferenceOptions.Kernels"/> takes one by name.</summary>
    public static ImmutableArray<string> AvailableKernels { get; } = [.. CpuKernels.Available.Select(set => set.Name)];

    /// <summary>Threads that share a product.</summary>
    public int Threads => _backend.Threads;

    /// <summary>Bytes of weights that a token reads.</summary>
    public long WeightBytes => _backend.WeightBytes;

    /// <summary>How past positions are kept.</summary>
    public KvCacheType KvCacheType => _backend.KvCacheType;

    /// <summary>Why activations may be no numbers, as the end of a sentence.</summary>
    internal string CauseOfOverflow { get; private init; } = DamagedOrOverflow;

    /// <summary>Sees the activations; null outside of calibration.</summary>
    internal IActivationObserver? Observer
    {
        get => Cpu.Observer;
        set => Cpu.Observer = value;
    }

    internal InferenceBackend Backend => _backend;

    CpuBackend Cpu => _backend as CpuBackend ?? throw new OpenElmException("Activations are observed on the CPU only; open the model there.");

    /// <summary>Loads a model of any format that <see cref="Checkpoint.Open"/> reads.</summary>
    /// <param name="path">The file or folder.</param>
    /// <param name="options">How; null takes the defaults.</param>
    /// <returns>The model.</returns>
    /// <exception cref="OpenElmException">The model or an option is wrong.</exception>
    public static OpenElmModel Load(string path, InferenceOptions? options = null)
    {
        options = (options ?? new InferenceOptions()).Validated();
        return Create(Checkpoint.Open(path), options);
    }

    /// <summary>Makes a model of an open checkpoint.</summary>
    /// <param name="checkpoint">The checkpoint; the model disposes it, also where this fails.</param>
    /// <param name="options">How; null takes the defaults.</param>
    /// <returns>The model.</returns>
    /// <exception cref="OpenElmException">An option is wrong.</exception>
    public static OpenElmModel Create(Checkpoint checkpoint, InferenceOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(checkpoint);
        try
        {
            options = (options ?? new InferenceOptions()).Validated();
            return new OpenElmModel(checkpoint.Config, adapters => Load(checkpoint, adapters, options), options)
            {
                CauseOfOverflow = checkpoint.Weights.Values.Any(weight => weight.Parts.Any(part => part.DType == DType.F16)) ? HalfOverflow : DamagedOrOverflow,
            };
        }
        catch
        {
            checkpoint.Dispose();
            throw;
        }
    }

    /// <summary>Makes a model of weights in memory, which are copied.</summary>
    /// <param name="config">The architecture.</param>
    /// <param name="weights">Every weight by CoreNet's name, row-major.</param>
    /// <param name="options">How; null takes the defaults.</param>
    /// <returns>The model.</returns>
    /// <exception cref="OpenElmException">Weights do not fit the configuration, or an option is wrong.</exception>
    public static OpenElmModel Create(OpenElmConfig config, IReadOnlyDictionary<string, ReadOnlyMemory<float>> weights, InferenceOptions? options = null)
    {
        options = (options ?? new InferenceOptions()).Validated();
        return new OpenElmModel(config.Validated(), adapters => Load(config, weights, adapters, options), options);
    }

    /// <summary>Makes a model of random weights, for measurements of speed.</summary>
    /// <param name="config">The architecture.</param>
    /// <param name="options">How it computes.</param>
    /// <param name="type">Of the matrices.</param>
    /// <returns>The model.</returns>
    /// <exception cref="OpenElmException">The architecture is impossible, or an option is wrong.</exception>
    public static OpenElmModel CreateRandom(OpenElmConfig config, InferenceOptions options, DType type = DType.BF16)
    {
        options = options.Validated();
        return new OpenElmModel(config.Validated(), adapters =>
        {
            var weights = new Benchmarking.RandomWeights(config, type);
            if (options.Device is not { } device)
            {
                return new CpuBackend(config, options, team => ModelWeights.Of(config, weights.Weights, team, weights));
            }

            using (weights)
            {
                return device.Load(config, weights.Weights, adapters, options);
            }
        }, options);
    }

    /// <summary>Allocates the state of one sequence.</summary>
    /// <param name="capacity">The longest it may get; null takes <see cref="MaxLength"/>.</param>
    /// <returns>The state.</returns>
    /// <exception cref="OpenElmException">It is longer than the model's limit.</exception>
    public SequenceState CreateState(int? capacity = null)
    {
        int length = capacity ?? MaxLength;
        ArgumentOutOfRangeException.ThrowIfLessThan(length, 1, nameof(capacity));
        if (length > MaxLength)
        {
            throw new OpenElmException($"A sequence of {length} tokens is longer than the limit of {MaxLength} (rope_max_length); shorten it, or raise the limit by option.");
        }

        return new SequenceState(this, length);
    }

    /// <summary>Feeds a prompt, on top of what the state holds.</summary>
    /// <param name="tokens">[seq].</param>
    /// <param name="state">The sequence; grows by the tokens.</param>
    /// <param name="logits">[vocab]: predicts the token after the last.</param>
    /// <exception cref="OpenElmException">No token, too many, or an id outside the vocabulary.</exception>
    public void Prefill(ReadOnlySpan<int> tokens, SequenceState state, Span<float> logits) => Forward(tokens, state, 1, logits);

    /// <summary>Feeds one token, on top of what the state holds; allocates nothing.</summary>
    /// <param name="token">The id.</param>
    /// <param name="state">The sequence; grows by one.</param>
    /// <param name="logits">[vocab]: predicts the next token.</param>
    /// <exception cref="OpenElmException">The sequence is full, or the id is outside the vocabulary.</exception>
    public void Decode(int token, SequenceState state, Span<float> logits) => Forward(new ReadOnlySpan<int>(in token), state, 1, logits);

    /// <inheritdoc/>
    public void ComputeLogits(ReadOnlySpan<int> tokens, int firstPosition, Span<float> logits)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(firstPosition);
        using SequenceState state = CreateState(Math.Max(1, tokens.Length));
        Forward(tokens, state, tokens.Length - firstPosition, logits);
    }

    /// <summary>Feeds tokens, on top of what the state holds, and writes the logits of the last few.</summary>
    /// <param name="tokens">[seq].</param>
    /// <param name="state">The sequence; grows by the tokens.</param>
    /// <param name="rows">How many of the last tokens' logits are wanted, at least 1.</param>
    /// <param name="logits">[rows, vocab].</param>
    /// <exception cref="OpenElmException">No token, too many, or an id outside the vocabulary.</exception>
    public void Forward(ReadOnlySpan<int> tokens, SequenceState state, int rows, Span<float> logits)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(rows, 1);
        var run = new SequenceRun(state, tokens.Length, rows);
        Forward(new ReadOnlySpan<SequenceRun>(in run), tokens, logits);
    }

    /// <summary>
    /// Feeds several sequences at once, each on top of what its state holds: prompts, single tokens, or both mixed. Weights are read once
    /// for all of them, and each gets the same bits as alone. Callers on several threads wait for each other.
    /// </summary>
    /// <param name="batch">The sequences.</param>
    /// <param name="tokens">The tokens of the first sequence, then those of the second, …</param>
    /// <param name="logits">[wanted rows, vocab], in the same order.</param>
    /// <exception cref="OpenElmException">A sequence has no token, or too many, or an id is outside the vocabulary; no state has changed.</exception>
    public void Forward(ReadOnlySpan<SequenceRun> batch, ReadOnlySpan<int> tokens, Span<float> logits)
    {
        Check(batch, tokens, logits);
        lock (_oneAtATime)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            _backend.Run(batch, tokens, logits);
            foreach (SequenceRun run in batch)
            {
                run.State.Advance(run.Tokens);
            }
        }
    }

    /// <summary>Feeds tokens, and chooses the most likely one behind them where the model computes.</summary>
    /// <param name="tokens">[seq].</param>
    /// <param name="state">The sequence; grows by the tokens.</param>
    /// <param name="candidates">Ids below this may be chosen.</param>
    /// <param name="logit">The chosen token's.</param>
    /// <returns>The token; null where the caller chooses, from the logits of <see cref="Prefill"/>: then the state has not changed.</returns>
    internal int? Choose(ReadOnlySpan<int> tokens, SequenceState state, int candidates, out float logit)
    {
        var run = new SequenceRun(state, tokens.Length, 0);
        Check(new ReadOnlySpan<SequenceRun>(in run), tokens, []);
        lock (_oneAtATime)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            int? chosen = _backend.Choose(state, tokens, candidates, out logit);
            if (chosen is not null)
            {
                state.Advance(tokens.Length);
            }

            return chosen;
        }
    }

    /// <summary>Begins to choose tokens where the model computes, several steps ahead of the caller; the state belongs to the chain until that is disposed.</summary>
    /// <param name="token">The token to feed first.</param>
    /// <param name="state">The sequence.</param>
    /// <param name="candidates">Ids below this may be chosen.</param>
    /// <param name="rule">How; null takes the most likely.</param>
    /// <returns>The chain; null on the CPU, which has nothing to gain.</returns>
    internal TokenChain? Begin(int token, SequenceState state, int candidates, DrawRule? rule)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        return _backend.Begin(state.Cache, token, state.Length, candidates, rule);
    }

    /// <summary>Begins to choose the most likely tokens of several sequences side by side; their states belong to the chain until that is disposed.</summary>
    /// <param name="tokens">The token of each to feed first.</param>
    /// <param name="states">The sequences.</param>
    /// <param name="candidates">Ids below this may be chosen.</param>
    /// <returns>The chain; null where the model's backend has none.</returns>
    internal BatchChain? BeginGreedy(ReadOnlySpan<int> tokens, IReadOnlyList<SequenceState> states, int candidates)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        return _backend.BeginGreedy([.. states.Select(state => state.Cache)], tokens, [.. states.Select(state => state.Length)], candidates);
    }

    /// <summary>Measures how fast the weights are read where nothing else is done: the ceiling of generation.</summary>
    /// <returns>Bytes a second, the best of five passes.</returns>
    public double MeasureReadBandwidth()
    {
        lock (_oneAtATime)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            return _backend.MeasureReadBandwidth();
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        lock (_oneAtATime)
        {
            if (!_disposed)
            {
                _disposed = true;
                _backend.Dispose();
            }
        }
    }

    // The backend owns the checkpoint; where weights were copied elsewhere, it is closed at once.
    static InferenceBackend Load(Checkpoint checkpoint, IReadOnlyList<ScaledAdapter> adapters, InferenceOptions options)
    {
        if (options.Device is not { } device)
        {
            return new CpuBackend(checkpoint.Config, options, team => ModelWeights.Of(checkpoint, adapters, team));
        }

        InferenceBackend backend = device.Load(checkpoint.Config, checkpoint.Weights, adapters, options);
        checkpoint.Dispose();
        return backend;
    }

    static InferenceBackend Load(OpenElmConfig config, IReadOnlyDictionary<string, ReadOnlyMemory<float>> weights, IReadOnlyList<ScaledAdapter> adapters, InferenceOptions options)
    {
        if (options.Device is not { } device)
        {
            return new CpuBackend(config, options, team => ModelWeights.Of(config, weights, adapters, team));
        }

        Dictionary<string, StoredWeight> stored = ModelWeights.Stored(config, weights, out List<IDisposable> owned);
        try
        {
            return device.Load(config, stored, adapters, options);
        }
        finally
        {
            owned.ForEach(owner => owner.Dispose());
        }
    }

    void Check(ReadOnlySpan<SequenceRun> batch, ReadOnlySpan<int> tokens, Span<float> logits)
    {
        ObjectDisposedException.ThrowIf(_disposed, this); // its weights are gone
        int total = 0, rows = 0;
        for (int i = 0; i < batch.Length; i++)
        {
            SequenceRun run = batch[i];
            ArgumentNullException.ThrowIfNull(run.State, nameof(batch));
            if (run.Tokens < 1)
            {
                throw new OpenElmException("There are no tokens to run; give at least one.");
            }

            if (run.State.Model != this)
            {
                throw new ArgumentException("The state was made by another model.", nameof(batch));
            }

            for (int other = 0; other < i; other++)
            {
                if (batch[other].State == run.State)
                {
                    throw new ArgumentException("A state occurs twice in the batch.", nameof(batch));
                }
            }

            int length = run.State.Length + run.Tokens;
            if (length > run.State.Capacity)
            {
                throw new OpenElmException($"The sequence would have {length} tokens; this state holds {run.State.Capacity}.");
            }

            ArgumentOutOfRangeException.ThrowIfNegative(run.LogitRows, nameof(batch));
            ArgumentOutOfRangeException.ThrowIfGreaterThan(run.LogitRows, run.Tokens, nameof(batch));
            if (length > Config.MaxContextLength && Interlocked.Exchange(ref _warnedOfLength, 1) == 0)
            {
                _warn?.Invoke($"The sequence is longer than the {Config.MaxContextLength} tokens the model was trained on (max_context_length); quality may drop.");
            }

            (total, rows) = (total + run.Tokens, rows + run.LogitRows);
        }

        ArgumentOutOfRangeException.ThrowIfNotEqual(tokens.Length, total, nameof(tokens));
        ArgumentOutOfRangeException.ThrowIfLessThan(logits.Length, checked(rows * Config.VocabSize), nameof(logits));
        int wrong = tokens.IndexOfAnyExceptInRange(0, Config.VocabSize - 1);
        if (wrong >= 0)
        {
            throw new OpenElmException($"The token id {tokens[wrong]} is outside of the vocabulary of {Config.VocabSize} rows.");
        }
    }
}
