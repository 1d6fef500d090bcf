using OpenElm.Checkpoints;
using OpenElm.Configuration;
using OpenElm.Inference.Calibration;
using OpenElm.Inference.Kernels;
using OpenElm.Inference.Threading;

namespace OpenElm.Inference;

/// <summary>
/// OpenELM on the CPU, in float32: the whole architecture, top to bottom. The weights are shared by all sequences; each
/// sequence brings a <see cref="SequenceState"/>. Several threads may run different sequences, one product at a time.
/// </summary>
public sealed unsafe class OpenElmModel : ICausalLM, IDisposable
{
    internal const string DamagedOrOverflow = "its weights are damaged, or overflow";
    const string HalfOverflow = "its weights are stored in fp16, where numbers beyond 65504 become infinite, which OpenELM-3B is known for: convert the original to bf16";

    readonly ModelWeights _weights;
    readonly RotaryTable _rotary;
    readonly ThreadTeam _team;
    readonly Action<string>? _warn;
    int _warnedOfLength;
    bool _disposed;

    OpenElmModel(OpenElmConfig config, ModelWeights weights, InferenceOptions options)
    {
        (Config, _weights, _warn) = (config, weights, options.Warn);
        MaxLength = options.MaxLength ?? config.RopeMaxLength;
        Kernels = options.Kernels is { } name ? CpuKernels.Get(name) : CpuKernels.Best;
        _rotary = new RotaryTable(config.HeadDim, config.RopeFreqConstant, MaxLength);
        _team = new ThreadTeam(options.Threads ?? Environment.ProcessorCount);
    }

    /// <inheritdoc/>
    public OpenElmConfig Config { get; }

    /// <summary>The longest sequence: <c>rope_max_length</c>, or what <see cref="InferenceOptions.MaxLength"/> says.</summary>
    public int MaxLength { get; }

    /// <summary>The name of the kernel set in use.</summary>
    public string KernelName => Kernels.Name;

    /// <summary>Threads that share a product.</summary>
    public int Threads => _team.Parts;

    internal CpuKernels Kernels { get; }

    /// <summary>Why activations may be no numbers, as the end of a sentence.</summary>
    internal string CauseOfOverflow { get; private init; } = DamagedOrOverflow;

    /// <summary>Sees the activations; null outside of calibration.</summary>
    internal IActivationObserver? Observer { get; set; }

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
        return Create(checkpoint.Config, () => ModelWeights.Of(checkpoint), (options ?? new InferenceOptions()).Validated(), checkpoint);
    }

    /// <summary>Makes a model of weights in memory, which are copied.</summary>
    /// <param name="config">The architecture.</param>
    /// <param name="weights">Every weight by CoreNet's name, row-major.</param>
    /// <param name="options">How; null takes the defaults.</param>
    /// <returns>The model.</returns>
    /// <exception cref="OpenElmException">Weights do not fit the configuration, or an option is wrong.</exception>
    public static OpenElmModel Create(OpenElmConfig config, IReadOnlyDictionary<string, ReadOnlyMemory<float>> weights, InferenceOptions? options = null) =>
        Create(config.Validated(), () => ModelWeights.Of(config, weights), (options ?? new InferenceOptions()).Validated(), null);

    /// <summary>Allocates the state of one sequence.</summary>
    /// <param name="capacity">The longest it may get; null takes <see cref="MaxLength"/>.</param>
    /// <returns>The state.</returns>
    /// <exception cref="OpenElmException">It is longer than the model's limit.</exception>
    public SequenceState CreateState(int? capacity = null)
    {
        int length = capacity ?? MaxLength;
        ArgumentOutOfRangeException.ThrowIfLessThan(length, 1, nameof(capacity));
        return length <= MaxLength
            ? new SequenceState(this, length)
            : throw new OpenElmException($"A sequence of {length} tokens is longer than the limit of {MaxLength} (rope_max_length); shorten it, or raise the limit by option.");
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
        Check(tokens, state, rows, logits);
        int firstRow = tokens.Length - rows;
        for (int start = 0; start < tokens.Length; start += SequenceState.LongestRun)
        {
            ReadOnlySpan<int> run = tokens[start..Math.Min(tokens.Length, start + SequenceState.LongestRun)];
            Embed(run, state);
            for (int layer = 0; layer < _weights.Layers.Length; layer++)
            {
                Attention(layer, state, run.Length);
                FeedForward(layer, state, run.Length);
                Observer?.ObserveResidual(layer, state.X.Slice(0, run.Length * Config.ModelDim));
            }

            state.Advance(run.Length);
            int skipped = Math.Clamp(firstRow - start, 0, run.Length);
            if (skipped < run.Length)
            {
                Head(state, skipped, run.Length - skipped, logits[((start + skipped - firstRow) * Config.VocabSize)..]);
            }
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _disposed = true;
        _team.Dispose();
        _weights.Dispose();
    }

    // x = E[tokens]: [seq, modelDim]
    void Embed(ReadOnlySpan<int> tokens, SequenceState state)
    {
        for (int t = 0; t < tokens.Length; t++)
        {
            _weights.Embedding.RowRange(tokens[t], tokens[t] + 1).CopyTo(state.X.Slice((long)t * Config.ModelDim, Config.ModelDim));
        }
    }

    // x = x + out_proj(attention(norm(x)))
    void Attention(int index, SequenceState state, int seq)
    {
        LayerWeights layer = _weights.Layers[index];
        LayerShape shape = layer.Shape;
        Norm(layer.AttnNorm, state, 0, seq);
        Observe(index, "attn.qkv_proj", state.Normed, seq, Config.ModelDim);
        Multiply(state, layer.QkvProj, state.Normed, seq, state.Qkv); // [seq, modelDim] → [seq, (queryHeads + 2 · kvHeads) · headDim]

        int headDim = Config.HeadDim, queryWidth = shape.QueryHeads * headDim, kvWidth = shape.KvHeads * headDim;
        for (int t = 0; t < seq; t++)
        {
            int position = state.Length + t;
            Span<float> row = state.Qkv.Slice((long)t * (queryWidth + (2 * kvWidth)), queryWidth + (2 * kvWidth));
            Span<float> queries = row[..queryWidth], keys = row.Slice(queryWidth, kvWidth), values = row[(queryWidth + kvWidth)..];
            if (layer is { QNorm: { } queryNorm, KNorm: { } keyNorm })
            {
                Kernels.RmsNorm(queries, queryNorm.Values, (float)Config.RmsNormEps, queries);
                Kernels.RmsNorm(keys, keyNorm.Values, (float)Config.RmsNormEps, keys);
            }

            Kernels.Rope(queries, _rotary.Cos(position), _rotary.Sin(position));
            Kernels.Rope(keys, _rotary.Cos(position), _rotary.Sin(position));
            for (int head = 0; head < shape.KvHeads; head++)
            {
                keys.Slice(head * headDim, headDim).CopyTo(state.Cache.Keys(index, head, position + 1)[^headDim..]);
                values.Slice(head * headDim, headDim).CopyTo(state.Cache.Values(index, head, position + 1)[^headDim..]);
            }
        }

        state.Attention.Attend(_team, index, shape, headDim, seq);
        Observe(index, "attn.out_proj", state.Heads, seq, queryWidth);
        Multiply(state, layer.OutProj, state.Heads, seq, state.Projected); // [seq, queryHeads · headDim] → [seq, modelDim]
        Kernels.Add(state.X.Slice(0, seq * Config.ModelDim), state.Projected.Slice(0, seq * Config.ModelDim));
    }

    // x = x + proj_2(SiLU(gate) ⊙ up), gate and up the halves of proj_1(norm(x)); without a gate, x + proj_2(SiLU(proj_1(norm(x))))
    void FeedForward(int index, SequenceState state, int seq)
    {
        LayerWeights layer = _weights.Layers[index];
        int ffnDim = layer.Shape.FfnDim;
        Norm(layer.FfnNorm, state, 0, seq);
        Observe(index, "ffn.proj_1", state.Normed, seq, Config.ModelDim);
        state.MatMul.Multiply(_team, layer.Proj1, 0, ffnDim, state.Normed.Pointer, seq, state.Gate.Pointer); // [seq, modelDim] → [seq, ffnDim]
        if (Config.FfnWithGlu)
        {
            state.MatMul.Multiply(_team, layer.Proj1, ffnDim, ffnDim, state.Normed.Pointer, seq, state.Up.Pointer);
        }

        for (int t = 0; t < seq; t++)
        {
            // Row by row, so that an element falls into the same vector or tail alone and in a batch.
            Kernels.SwiGlu(state.Gate.Slice((long)t * ffnDim, ffnDim), state.Up.Slice((long)t * ffnDim, Config.FfnWithGlu ? ffnDim : 0));
        }

        Observe(index, "ffn.proj_2", state.Gate, seq, ffnDim);
        Multiply(state, layer.Proj2, state.Gate, seq, state.Projected); // [seq, ffnDim] → [seq, modelDim]
        Kernels.Add(state.X.Slice(0, seq * Config.ModelDim), state.Projected.Slice(0, seq * Config.ModelDim));
    }

    // logits = norm(x) · headᵀ for the rows wanted: [rows, modelDim] → [rows, vocab]
    void Head(SequenceState state, int first, int rows, Span<float> logits)
    {
        Norm(_weights.FinalNorm, state, first, rows);
        Observer?.ObserveProduct(Config.ShareInputOutputLayers ? TensorNames.Embedding : TensorNames.Classifier, state.Normed.Slice(0, rows * Config.ModelDim), Config.ModelDim);
        fixed (float* y = logits)
        {
            state.MatMul.Multiply(_team, _weights.Head, 0, Config.VocabSize, state.Normed.Pointer, rows, y);
        }
    }

    void Norm(Weight weight, SequenceState state, int first, int rows) => Kernels.RmsNorm(
        state.X.Slice((long)first * Config.ModelDim, rows * Config.ModelDim), weight.Values, (float)Config.RmsNormEps, state.Normed.Slice(0, rows * Config.ModelDim));

    void Multiply(SequenceState state, Weight weight, NativeFloats x, int seq, NativeFloats y) =>
        state.MatMul.Multiply(_team, weight, 0, weight.Rows, x.Pointer, seq, y.Pointer);

    // x [seq, width] as floats, just before the product with a layer's matrix.
    void Observe(int layer, string part, NativeFloats x, int seq, int width) =>
        Observer?.ObserveProduct(TensorNames.Layer(layer, part), x.Slice(0, seq * width), width);

    void Check(ReadOnlySpan<int> tokens, SequenceState state, int rows, Span<float> logits)
    {
        ArgumentNullException.ThrowIfNull(state);
        ObjectDisposedException.ThrowIf(_disposed, this); // its weights are no longer mapped
        if (tokens.IsEmpty)
        {
            throw new OpenElmException("There are no tokens to run; give at least one.");
        }

        if (state.Model != this)
        {
            throw new ArgumentException("The state was made by another model.", nameof(state));
        }

        int length = state.Length + tokens.Length;
        if (length > state.Capacity)
        {
            throw new OpenElmException($"The sequence would have {length} tokens; this state holds {state.Capacity}.");
        }

        foreach (int token in tokens)
        {
            if ((uint)token >= (uint)Config.VocabSize)
            {
                throw new OpenElmException($"The token id {token} is outside of the vocabulary of {Config.VocabSize} rows.");
            }
        }

        ArgumentOutOfRangeException.ThrowIfLessThan(rows, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(rows, tokens.Length);
        ArgumentOutOfRangeException.ThrowIfLessThan(logits.Length, checked(rows * Config.VocabSize), nameof(logits));
        if (length > Config.MaxContextLength && Interlocked.Exchange(ref _warnedOfLength, 1) == 0)
        {
            _warn?.Invoke($"The sequence is longer than the {Config.MaxContextLength} tokens the model was trained on (max_context_length); quality may drop.");
        }
    }

    static OpenElmModel Create(OpenElmConfig config, Func<ModelWeights> load, InferenceOptions options, Checkpoint? source)
    {
        ModelWeights? weights = null;
        try
        {
            weights = load();
            return source?.Weights.Values.Any(weight => weight.Parts.Any(part => part.DType == DType.F16)) == true
                ? new OpenElmModel(config, weights, options) { CauseOfOverflow = HalfOverflow }
                : new OpenElmModel(config, weights, options);
        }
        catch
        {
            weights?.Dispose();
            source?.Dispose();
            throw;
        }
    }
}
