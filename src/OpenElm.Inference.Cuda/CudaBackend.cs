using System.Runtime.CompilerServices;
using OpenElm.Adapters;
using OpenElm.Checkpoints;
using OpenElm.Configuration;
using OpenElm.Cuda;
using OpenElm.Inference.Sampling;

namespace OpenElm.Inference.Cuda;

/// <summary>The model on a GPU: a single token goes through <see cref="TokenStep"/> where the architecture allows, everything else through <see cref="RowPass"/>.</summary>
internal sealed class CudaBackend : InferenceBackend
{
    readonly CudaDevice _device;
    readonly OpenElmConfig _config;
    readonly CudaPrecision _precision;
    readonly bool _cacheIsBytes;
    readonly CudaStream _stream = new();
    readonly DeviceWeights _weights;
    readonly LogitsReader _reader;
    readonly RowPass _pass;
    readonly TokenStep? _step;
    readonly bool _isSearched; // which variant the step is
    readonly DeviceMemory _state = new(2 * sizeof(int));
    readonly MappedMemory<int> _chosen = new(2 * TokenStep.ProfiledSteps);
    readonly RotaryTable _rotary;
    readonly DeviceRow[] _rows = new DeviceRow[RowPass.MostRows];
    readonly int[] _picked = new int[RowPass.MostRows];
    KernelModule? _draw; // of draw.cu, when it is first needed
    DeviceMemory? _angles; // cos, then sin: [2][_positions, headDim / 2]
    int _positions;
    readonly List<DeviceMemory> _free = [];
    bool _isDisposed;

    public CudaBackend(CudaDevice device, OpenElmConfig config, IReadOnlyDictionary<string, StoredWeight> weights, IReadOnlyList<ScaledAdapter> adapters, CudaPrecision precision, InferenceOptions options)
    {
        (_device, _config, _precision, _cacheIsBytes) = (device, config, precision, options.KvCache == KvCacheType.I8);
        _rotary = new RotaryTable(config.HeadDim, config.RopeFreqConstant);
        StepVariant variant = StepVariant.All[Math.Max(0, options.StepVariant ?? 0)];
        StepLayout? layout = options.KernelsApart ? null : StepLayout.Of(config, precision, device.Multiprocessors, variant, out _);
        _weights = new DeviceWeights(config, weights, adapters, precision, layout, _stream.Handle);
        _reader = new LogitsReader(config.VocabSize);
        _pass = new RowPass(config, _weights, precision, options, device, _stream, _reader);
        _isSearched = options.StepVariant < 0 || (options.StepVariant is null && precision == CudaPrecision.Bf16 && _weights.TokenBytes >= StepSearch.Smallest);
        _step = layout is null ? null : _isSearched ? FastestStep(variant.LargestPiece, options) : CreateStep(layout, options);
    }

    /// <inheritdoc/>
    public override string Name => $"cuda-{(_precision == CudaPrecision.Bf16 ? "bf16" : "fp32")}{(_step is null ? "-rows" : "")}{(_isSearched && _step is not null ? $" ({_step.Variant})" : "")}";

    /// <inheritdoc/>
    public override int Threads => Environment.ProcessorCount;

    /// <inheritdoc/>
    public override long WeightBytes => _weights.TokenBytes;

    /// <inheritdoc/>
    public override KvCacheType KvCacheType => _cacheIsBytes ? KvCacheType.I8 : _precision == CudaPrecision.Bf16 ? KvCacheType.BF16 : KvCacheType.F32;

    nint Cos => _angles!.Address;

    nint Sin => _angles!.Address + (nint)((long)_positions * (_config.HeadDim / 2) * sizeof(float));

    /// <inheritdoc/>
    public override SequenceCache CreateCache(int capacity)
    {
        lock (_stream)
        {
            _device.MakeCurrent();
            Reserve(Math.Max(capacity, _config.MaxContextLength)); // once for most: recorded passes hold its address
        }

        return new DeviceCache(this, _config, capacity, KvCacheType);
    }

    /// <summary>Memory for a cache: of one that is no more, if there is one of the size.</summary>
    public DeviceMemory TakeMemory(long bytes)
    {
        lock (_stream)
        {
            _device.MakeCurrent();
            int at = _free.FindIndex(memory => memory.Bytes == bytes);
            if (at < 0)
            {
                return new DeviceMemory(bytes);
            }

            DeviceMemory found = _free[at];
            _free.RemoveAt(at);
            return found;
        }
    }

    /// <summary>Keeps a cache's memory for the next one; allocating takes longer than a token.</summary>
    public void GiveBack(DeviceMemory memory)
    {
        const int Kept = 2;
        lock (_stream)
        {
            if (_isDisposed || _free.Count == Kept)
            {
                memory.Dispose(); // the driver waits for kernels that use it
                return;
            }

            _free.Add(memory); // what comes next follows in the same stream
        }
    }

    /// <inheritdoc/>
    public override void Run(ReadOnlySpan<SequenceRun> batch, ReadOnlySpan<int> tokens, Span<float> logits)
    {
        lock (_stream)
        {
            _device.MakeCurrent();
            RunAlone(batch, tokens, logits);
        }
    }

    /// <inheritdoc/>
    public override int? Choose(SequenceState state, ReadOnlySpan<int> tokens, int candidates, out float logit)
    {
        lock (_stream)
        {
            _device.MakeCurrent();
            logit = 0;
            if (_step is not null && tokens.Length == 1)
            {
                return null; // faster as a step, whose logits are read
            }

            var cache = (DeviceCache)state.Cache;
            int first = 0;
            for (; tokens.Length - first > RowPass.MostRows; first += RowPass.MostRows)
            {
                _pass.Run(Rows(cache, tokens.Slice(first, RowPass.MostRows), state.Length + first), [], Cos, Sin, []);
            }

            (int token, logit) = _pass.Choose(Rows(cache, tokens[first..], state.Length + first), Cos, Sin, candidates);
            return token;
        }
    }

    /// <inheritdoc/>
    public override TokenChain? Begin(SequenceCache cache, int token, int position, int candidates, DrawRule? rule)
    {
        var own = (DeviceCache)cache;
        return _step is not null ? new DeviceTokenChain(this, own, token, position, candidates, rule)
            : _pass.TakesLoneRows ? new DeviceRowChain(this, new DeviceRow(token, position, own.Capacity, 0, own.Address), candidates, rule)
            : null;
    }

    /// <inheritdoc/>
    public override BatchChain? BeginGreedy(IReadOnlyList<SequenceCache> caches, ReadOnlySpan<int> tokens, ReadOnlySpan<int> positions, int candidates)
    {
        if (!_pass.TakesLoneRows || caches.Count > RowPass.MostRows)
        {
            return null;
        }

        var rows = new DeviceRow[caches.Count];
        for (int i = 0; i < rows.Length; i++)
        {
            var cache = (DeviceCache)caches[i];
            rows[i] = new DeviceRow(tokens[i], positions[i], cache.Capacity, 0, cache.Address);
        }

        return new DeviceBatchChain(this, rows, candidates);
    }

    /// <summary>Copies rows of a chain to the device.</summary>
    public void Send(DeviceRow[] rows, nint target) => InStream((_, stream, _, _) => CudaDevice.Copy<DeviceRow>(rows, target, stream.Handle));

    /// <summary>Puts something into the stream that takes the pass over many rows and the angles.</summary>
    public void InStream(Action<RowPass, CudaStream, nint, nint> action)
    {
        lock (_stream)
        {
            _device.MakeCurrent();
            action(_pass, _stream, Cos, Sin);
        }
    }

    /// <summary>Makes a sampler for a chain.</summary>
    public TokenDraw CreateDraw(DrawRule rule, int candidates, int places)
    {
        lock (_stream)
        {
            _device.MakeCurrent();
            _draw ??= new KernelModule(DecodeKernels.Compile("draw", _device.ComputeCapability, _config, _precision, null));
            return new TokenDraw(_draw, rule, candidates, places);
        }
    }

    /// <summary>Puts steps of a chain into the stream; what draws, if it is given, changes what the step has chosen.</summary>
    public void Launch(DeviceCache cache, int token, int position, int steps, StepChoice choice, TokenDraw? draw, CudaEvent done)
    {
        lock (_stream)
        {
            _device.MakeCurrent();
            _step!.Launch(cache, token, position, steps, choice with { Cos = Cos, Sin = Sin });
            draw?.Launch(_stream.Handle, _step.Logits, choice.State, isRow: false, choice.Host, choice.Place);
            done.Record(_stream.Handle);
        }
    }

    /// <inheritdoc/>
    public override IReadOnlyList<StepPhase> ProfileStep(SequenceCache cache, int position)
    {
        lock (_stream)
        {
            _device.MakeCurrent();
            return _step?.Profile((DeviceCache)cache, position, new StepChoice(_state.Address, _chosen.Address, 0, _config.VocabSize, Cos, Sin)) ?? [];
        }
    }

    /// <inheritdoc/>
    public override IReadOnlyList<StepPhase> ProfilePass(ReadOnlySpan<SequenceRun> batch, ReadOnlySpan<int> tokens)
    {
        float[] logits = new float[batch.Length * _config.VocabSize];
        try
        {
            KernelTrace.Start();
        }
        catch (CudaException)
        {
            return []; // CUPTI comes with PyTorch, not with the driver
        }

        for (int i = 0; i < 4; i++)
        {
            KernelTrace.Clear();
            Run(batch, tokens, logits);
        }

        IReadOnlyList<TracedKernel> kernels = KernelTrace.Stop();
        double busy = KernelTrace.BusyNanoseconds(kernels), all = kernels.Count == 0 ? 0 : kernels[^1].End - kernels[0].Start;
        return
        [
            .. kernels.GroupBy(kernel => kernel.Name).Select(same => new StepPhase(same.Key, same.Count(), same.Sum(kernel => kernel.End - kernel.Start) / 1000.0, 0)).OrderByDescending(phase => phase.Microseconds),
            new StepPhase("between kernels", kernels.Count, (all - busy) / 1000, 0),
        ];
    }

    /// <summary>Waits for everything in the stream.</summary>
    public void Synchronize()
    {
        _device.MakeCurrent();
        CudaDevice.Synchronize(_stream.Handle);
    }

    /// <summary>Copies stretches that lie at even distances.</summary>
    public void CopyPlanes(nint source, long sourceStride, nint target, long targetStride, long bytes, int count)
    {
        _device.MakeCurrent();
        for (int i = 0; i < count; i++)
        {
            DeviceMemory.Copy(source + (nint)(i * sourceStride), target + (nint)(i * targetStride), bytes, _stream.Handle);
        }

        CudaDevice.Synchronize(_stream.Handle); // the source may go away next
    }

    /// <inheritdoc/>
    public override double MeasureReadBandwidth()
    {
        _device.MakeCurrent();
        return _pass.MeasureRead(_weights.Address, _weights.Bytes);
    }

    /// <inheritdoc/>
    public override void Dispose()
    {
        Synchronize();
        lock (_stream)
        {
            _isDisposed = true;
            _free.ForEach(memory => memory.Dispose());
        }

        _draw?.Dispose();
        _step?.Dispose();
        _pass.Dispose();
        _reader.Dispose();
        _weights.Dispose();
        _angles?.Dispose();
        _state.Dispose();
        _chosen.Dispose();
        _stream.Dispose();
    }

    TokenStep CreateStep(StepLayout layout, InferenceOptions options) => TokenStep.Create(_config, _weights, _precision, layout, options, _device, _stream.Handle);

    // piece: of plain rows, the same in all variants where some are packed; their pieces do not depend on it.
    TokenStep FastestStep(int piece, InferenceOptions options)
    {
        Reserve(_config.MaxContextLength);
        StepLayout[] layouts =
        [
            .. StepVariant.All.Where(variant => _weights.LargestPacked == 0 || variant.LargestPiece == piece)
                .Select(variant => StepLayout.Of(_config, _precision, _device.Multiprocessors, variant, out _)).OfType<StepLayout>(),
        ];
        using var search = new StepSearch(
            _config, layouts, layout => TokenStep.MachineCode(_config, _weights, _precision, layout, options, _device), layout => CreateStep(layout, options), KvCacheType,
            new StepChoice(_state.Address, 0, 0, _config.VocabSize, Cos, Sin), _stream.Handle);
        string norm = options.LayerNorm ? " LayerNorm" : "";
        return search.Fastest(FormattableString.Invariant($"step {DecodeKernels.Version("step")} {_precision} {_config.ModelDim} x {_config.Layers.Length} {_weights.TokenBytes} {KvCacheType}{norm}"), _pass);
    }

    // Logits of a step lie in memory that the next step, of a chain beside this, would overwrite.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    void RunAlone(ReadOnlySpan<SequenceRun> batch, ReadOnlySpan<int> tokens, Span<float> logits)
    {
        if (_step is not null && tokens.Length == 1)
        {
            SequenceRun run = batch[0];
            _step.Launch((DeviceCache)run.State.Cache, tokens[0], run.State.Length, 1, new StepChoice(_state.Address, _chosen.Address, 0, _config.VocabSize, Cos, Sin));
            if (run.LogitRows == 1)
            {
                _reader.Ask(_step.Logits, 1, logits, _stream.Handle);
                _reader.Finish(logits, _stream.Handle);
            }

            return;
        }

        int next = 0, rows = 0, picked = 0;
        foreach (SequenceRun run in batch)
        {
            var cache = (DeviceCache)run.State.Cache;
            for (int i = 0; i < run.Tokens; i++)
            {
                if (i >= run.Tokens - run.LogitRows)
                {
                    _picked[picked++] = rows;
                }

                _rows[rows++] = new DeviceRow(tokens[next++], run.State.Length + i, cache.Capacity, 0, cache.Address);
                if (rows == RowPass.MostRows || next == tokens.Length)
                {
                    _pass.Run(_rows.AsSpan(0, rows), _picked.AsSpan(0, picked), Cos, Sin, logits);
                    (rows, picked) = (0, 0);
                }
            }
        }

        _reader.Finish(logits, _stream.Handle);
    }

    // Neighbours in a sequence. Optimized at once: a loop over a thousand rows in code that has run a few times only takes longer than a kernel.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    ReadOnlySpan<DeviceRow> Rows(DeviceCache cache, ReadOnlySpan<int> tokens, int position)
    {
        (int capacity, nint address) = (cache.Capacity, cache.Address);
        for (int i = 0; i < tokens.Length; i++)
        {
            _rows[i] = new DeviceRow(tokens[i], position + i, capacity, 0, address);
        }

        return _rows.AsSpan(0, tokens.Length);
    }

    // The table of angles grows with the sequences, as on the CPU.
    void Reserve(int positions)
    {
        if (positions <= _positions)
        {
            return;
        }

        int half = _config.HeadDim / 2;
        _rotary.Reserve(positions);
        float[] angles = new float[2L * positions * half];
        for (int position = 0; position < positions; position++)
        {
            _rotary.Cos(position).CopyTo(angles.AsSpan(position * half));
            _rotary.Sin(position).CopyTo(angles.AsSpan((positions + position) * half));
        }

        CudaDevice.Synchronize(_stream.Handle);
        _angles?.Dispose();
        _angles = new DeviceMemory(angles.Length * sizeof(float));
        CudaDevice.Copy<float>(angles, _angles.Address, _stream.Handle);
        _positions = positions;
    }
}
