using OpenElm.Configuration;
using OpenElm.Inference.Calibration;
using OpenElm.Inference.Kernels;
using OpenElm.Inference.Threading;

namespace OpenElm.Inference;

/// <summary>The model on the CPU: packed weights, a team of threads, and the pass that they make together.</summary>
internal sealed unsafe class CpuBackend : InferenceBackend
{
    readonly ModelWeights _weights;
    readonly ThreadTeam _team;
    readonly ForwardPass _pass;
    readonly RotaryTable _rotary;
    readonly OpenElmConfig _config;

    /// <param name="config">The architecture.</param>
    /// <param name="options">How.</param>
    /// <param name="load">Packs the weights by a team's threads.</param>
    public CpuBackend(OpenElmConfig config, InferenceOptions options, Func<ThreadTeam, ModelWeights> load)
    {
        (_config, KvCacheType) = (config, options.KvCache);
        var kernels = options.Kernels is { } name ? CpuKernels.Get(name) : CpuKernels.Best;
        Name = kernels.Name;
        _team = new ThreadTeam(options.Threads ?? Environment.ProcessorCount);
        try
        {
            _weights = load(_team);
        }
        catch
        {
            _team.Dispose();
            throw;
        }

        _pass = new ForwardPass(config, _weights, _rotary = new RotaryTable(config.HeadDim, config.RopeFreqConstant), kernels);
    }

    /// <inheritdoc/>
    public override string Name { get; }

    /// <inheritdoc/>
    public override int Threads => _team.Parts;

    /// <inheritdoc/>
    public override long WeightBytes => _weights.Bytes;

    /// <inheritdoc/>
    public override KvCacheType KvCacheType { get; }

    /// <summary>Sees the activations; null outside of calibration.</summary>
    public IActivationObserver? Observer
    {
        get => _pass.Observer;
        set => _pass.Observer = value;
    }

    /// <inheritdoc/>
    public override SequenceCache CreateCache(int capacity)
    {
        _rotary.Reserve(capacity);
        return new KvCache(_config, capacity, KvCacheType);
    }

    /// <inheritdoc/>
    public override void Run(ReadOnlySpan<SequenceRun> batch, ReadOnlySpan<int> tokens, Span<float> logits)
    {
        fixed (float* result = logits)
        {
            Run(batch, tokens, result);
        }
    }

    /// <inheritdoc/>
    public override double MeasureReadBandwidth() => new Benchmarking.ReadBandwidth(_weights.Address, _weights.Bytes).Measure(_team, times: 5);

    /// <inheritdoc/>
    public override void Dispose()
    {
        _team.Dispose();
        _pass.Dispose();
        _weights.Dispose();
    }

    void Run(ReadOnlySpan<SequenceRun> batch, ReadOnlySpan<int> tokens, float* logits)
    {
        int rowsLeft = tokens.Length, logitRow = 0, next = 0, begun = 0;
        _pass.Clear(rowsLeft);
        foreach (SequenceRun run in batch)
        {
            for (int i = 0; i < run.Tokens; i++)
            {
                bool wanted = i >= run.Tokens - run.LogitRows;
                _pass.Add(new ForwardPass.Row(tokens[next++], run.State, run.State.Length + i, wanted ? logitRow++ : -1));
                if (--rowsLeft == 0 || next - begun == ForwardPass.MostRows)
                {
                    _pass.Run(_team, logits);
                    logits += (long)logitRow * _config.VocabSize;
                    (logitRow, begun) = (0, next);
                    _pass.Clear(rowsLeft);
                }
            }
        }
    }
}
