using System.Collections.Immutable;
using OpenElm.Configuration;
using OpenElm.Cuda;
using OpenElm.Training.Benchmarking;
using OpenElm.Training.Distributed;
using OpenElm.Training.Kernels;
using OpenElm.Training.Losses;
using OpenElm.Training.Torch;
using TorchSharp;
using static TorchSharp.torch;

namespace OpenElm.Training.Gpu;

/// <summary>How a micro-batch enters an update.</summary>
/// <param name="GradientShare">The factor of its mean loss in what is minimised.</param>
/// <param name="MeasuredShare">The factor of its mean losses in what is reported.</param>
/// <param name="Accumulate">Whether its gradients are added to those that are there.</param>
internal readonly record struct MicroBatchShare(double GradientShare, double MeasuredShare, bool Accumulate);

/// <summary>How a pass is made.</summary>
internal sealed record GpuPassOptions
{
    /// <summary>Whether an update has several micro-batches: their gradients are then summed in single precision.</summary>
    public bool Accumulates { get; init; }

    /// <summary>A gradient in single precision for each weight, where ranks exchange them; null leaves the place to the pass.</summary>
    public ImmutableArray<DeviceBuffer>? GradientBuffers { get; init; }

    /// <summary>Whether the launches are recorded once and then sent together.</summary>
    public bool RecordsLaunches { get; init; }

    /// <summary>Whether most products read copies in eight bits.</summary>
    public bool EightBits { get; init; }

    /// <summary>Whether products have SwiGLU in their last step wherever they can; null where that is faster.</summary>
    public bool? JoinsSwiGlu { get; init; }

    /// <summary>As a run's configuration says. What is chosen by timing may be another way when a run goes on, so a deterministic one keeps SwiGLU apart.</summary>
    /// <param name="trainer">The configuration.</param>
    public static GpuPassOptions Of(TrainerConfig trainer) => new()
    {
        Accumulates = trainer.Accumulation > 1,
        RecordsLaunches = trainer.CudaGraphs,
        EightBits = trainer.Fp8Products,
        JoinsSwiGlu = trainer.SwigluInProducts && !trainer.Deterministic ? null : false,
    };
}

/// <summary>
/// Forward and backward pass of the whole model on the GPU, written by hand: buffers of a fixed size that are allocated once, our kernels
/// between cuBLASLt's products, libtorch's attention. docs/gpu-training.md says what is kept, what is computed again, and why.
/// </summary>
internal sealed class GpuPass : IDisposable
{
    /// <summary>Of cuBLASLt.</summary>
    public const long WorkspaceBytes = 32L << 20;

    const string Embedding = "token_embeddings.weight";

    readonly OpenElmModule _module;
    readonly OpenElmConfig _config;
    readonly LossOptions _loss;
    readonly GpuPassOptions _options;
    readonly CudaDevice _device;
    readonly GpuKernels _kernels;
    readonly MatrixProducts _products;
    readonly GpuSwiGluProducts? _swiGlu;
    readonly Dictionary<(int FfnDim, bool IsBackward), (float Apart, float Joined)> _joined = []; // microseconds of both ways, where it is used
    readonly GpuProductShapes _shapes;
    readonly GpuGradients _gradients;
    readonly ImmutableArray<GpuActivations> _activations;
    readonly ImmutableArray<GpuLayer> _layers;
    readonly WeightPair _embedding, _norm, _head;
    readonly GpuBatch _batch;
    readonly DeviceBuffer _cos, _sin;
    readonly DeviceBuffer _normed, _scratch, _flow, _partials, _entropies, _zs, _sums, _workspace;
    readonly DeviceBuffer? _roundedFlow;
    readonly GpuEightBits? _eight;
    readonly DeviceBuffer?[] _rounded; // matrices as products read them, where weights have another type
    readonly nint _logits;
    readonly int _tokens, _rows;
    readonly List<ImmutableArray<TorchGraph>> _recordings = []; // of a first micro-batch, and of those whose gradients are added: one, or the parts between two calls of the module's watch
    CudaStream? _recorder;
    bool _isCalibrated;

    /// <summary>Allocates every buffer, finds the fastest algorithm of every product and records the launches.</summary>
    /// <param name="module">The model; its weights stay where they are.</param>
    /// <param name="sequences">Sequences of a micro-batch.</param>
    /// <param name="sequenceLength">Tokens of a sequence.</param>
    /// <param name="loss">The loss.</param>
    /// <param name="options">How.</param>
    public GpuPass(OpenElmModule module, int sequences, int sequenceLength, LossOptions loss, GpuPassOptions options)
    {
        (_module, _config, _loss, _options, Sequences, SequenceLength) = (module, module.Config, loss, options, sequences, sequenceLength);
        Types = GpuTypes.Of(module.Options.Precision, options.Accumulates, options.EightBits);
        TorchDevice = TorchLibrary.Device(module.Options.Device);
        using var noGrad = no_grad();
        _device = new CudaDevice(Math.Max(0, TorchDevice.index));
        _kernels = new GpuKernels(_device, _config, Types);
        _swiGlu = options.JoinsSwiGlu == false || GpuSwiGluProducts.Refusal(_config, _device.ComputeCapability, Types) is not null ? null : new GpuSwiGluProducts(_device);
        _tokens = sequences * sequenceLength;
        _rows = loss.ChunkRows > 0 ? Math.Min(loss.ChunkRows, _tokens) : _tokens;
        _shapes = new GpuProductShapes(_config, Types, _tokens);

        _gradients = options.GradientBuffers is { } buffers ? new GpuGradients(buffers) : new GpuGradients(module.Weights, Types.Gradient, TorchDevice);
        _rounded = [.. module.Weights.Select(entry => Types.Residual != Types.Product && entry.Value.dim() > 1 ? Rounded(entry.Value) : null)];
        Copies = [.. module.Weights.Zip(_rounded, (entry, rounded) => rounded?.Address ?? (Types.Residual == ScalarType.Float32 ? 0 : Dispatcher.DataPointer(entry.Value)))];
        var pairs = module.Weights.Select((entry, i) => (entry.Name, Pair: new WeightPair(_rounded[i]?.Address ?? Dispatcher.DataPointer(entry.Value), Gradients[i].Address)))
            .ToDictionary(entry => entry.Name, entry => entry.Pair);
        _norm = pairs["norm.weight"];
        _head = pairs[_config.ShareInputOutputLayers ? Embedding : "classifier.weight"];
        _embedding = new WeightPair(Dispatcher.DataPointer(module.Weights.Single(entry => entry.Name == Embedding).Value), pairs[Embedding].Gradient); // look-ups read the weight itself

        bool isCheckpointed = module.Options.ActivationCheckpointing;
        _activations = isCheckpointed
            ? [new GpuActivations(_config, _config.Layers, _tokens, Types, TorchDevice)]
            : [.. _config.Layers.Select(shape => new GpuActivations(_config, [shape], _tokens, Types, TorchDevice))];
        Attention = ChooseAttention();
        _layers = [.. Enumerable.Range(0, _config.NumTransformerLayers).Select(i => new GpuLayer(
            _config, i, _tokens, Types, TorchDevice, _activations[isCheckpointed ? 0 : i], new GpuAttention(Attention, module.Options.Deterministic), name => pairs[name]))];

        _eight = options.EightBits ? new GpuEightBits(_config, _layers, _tokens, TorchDevice, _kernels) : null;
        _batch = new GpuBatch(sequences, sequenceLength, _config.VocabSize, TorchDevice);
        SequenceLayout layout = module.LayoutOf(null, sequenceLength);
        (_cos, _sin) = (Rows(layout.Cos), Rows(layout.Sin));
        _normed = Empty(Types.Product, _tokens, _config.ModelDim);
        _flow = Empty(Types.Residual, _tokens, _config.ModelDim);
        _roundedFlow = Types.Residual == Types.Product ? null : Empty(Types.Product, _tokens, _config.ModelDim);
        // What SwiGLU gives, attention's gradient and, if they find no other place, logits are never there at the same time.
        long ffn = _config.Layers.Max(layer => layer.FfnDim), queries = _config.Layers.Max(layer => layer.QueryHeads) * (long)_config.HeadDim, logits = _rows * (long)_config.VocabSize;
        bool isElsewhere = GpuGradients.HoldLogits(logits * Types.Product.ElementSize(), _gradients.LayersBytes, options.Accumulates);
        _scratch = Empty(Types.Product, Math.Max(isElsewhere ? 0 : logits, _tokens * Math.Max(ffn, queries)));
        _logits = isElsewhere ? _gradients.LayersAddress : _scratch.Address;
        _partials = Empty(ScalarType.Float32, _kernels.PartialFloats);
        (_entropies, _zs, _sums) = (Empty(ScalarType.Float32, _tokens), Empty(ScalarType.Float32, _tokens), Empty(ScalarType.Float32, 2));
        _workspace = Empty(ScalarType.Byte, WorkspaceBytes);
        _products = new MatrixProducts(_workspace.Address, WorkspaceBytes, _device.Name);
        FindFastestProducts();
        TorchMemory.ReleaseReserve(TorchDevice); // of a model that was made elsewhere, or as other tensors
        if (options.RecordsLaunches)
        {
            Record();
        }
    }

    /// <summary>Number formats.</summary>
    public GpuTypes Types { get; }

    /// <summary>The GPU as libtorch names it.</summary>
    public Device TorchDevice { get; }

    /// <summary>Whose kernels compute attention; <see cref="AttentionBackend.Math"/> is autograd's.</summary>
    public AttentionBackend Attention { get; }

    public int Sequences { get; }

    public int SequenceLength { get; }

    /// <summary>Why launches are not recorded though that was asked for; null if they are.</summary>
    public string? RecordingRefusal { get; private set; }

    /// <summary>The kernels, for the optimizer.</summary>
    public GpuKernels Kernels => _kernels;

    /// <summary>A gradient for each weight of the model, in its order.</summary>
    public ImmutableArray<DeviceBuffer> Gradients => _gradients.Buffers;

    /// <summary>For each weight the address that the optimizer also writes in the type of products, or 0.</summary>
    public ImmutableArray<nint> Copies { get; }

    /// <summary>For each weight its copy in the type of products; null where products read the weight itself.</summary>
    public IReadOnlyList<DeviceBuffer?> RoundedWeights => _rounded;

    /// <summary>What the search for algorithms found.</summary>
    public IReadOnlyList<(ProductShape Shape, float FirstMicroseconds, float BestMicroseconds, int Chosen)> ProductTimings => _products.Timings;

    /// <summary>Where products have SwiGLU in their last step.</summary>
    public SwiGluInProducts SwiGluInProducts
    {
        get
        {
            (float Apart, float Joined)[] used = [.. _layers.SelectMany(layer => new[] { (layer.Shape.FfnDim, false), (layer.Shape.FfnDim, true) }).Where(_joined.ContainsKey).Select(place => _joined[place])];
            return new(_layers.Count(layer => Joins(layer, isBackward: false)), _layers.Count(layer => Joins(layer, isBackward: true)), _layers.Length, used.Sum(times => times.Apart) / 1000.0, used.Sum(times => times.Joined) / 1000.0);
        }
    }

    /// <summary>Rounds the weights anew after something else has changed them.</summary>
    public void RefreshCopies()
    {
        using var noGrad = no_grad();
        foreach ((NamedWeight weight, DeviceBuffer? rounded) in _module.Weights.Zip(_rounded))
        {
            rounded?.Tensor.copy_(weight.Value);
        }
    }

    /// <summary>Forgets the sums of losses.</summary>
    public void ClearLosses() => CudaDevice.Clear(_sums.Address, _sums.Bytes, _kernels.Stream);

    /// <summary>The losses since <see cref="ClearLosses"/>.</summary>
    /// <returns>[2]: cross entropy and z-loss, each weighted as reported; a copy, to be disposed.</returns>
    public Tensor CopyLosses() => _sums.Tensor.clone();

    /// <summary>Puts forward and backward pass of a micro-batch into the stream.</summary>
    /// <param name="inputs">[sequences · seq] ids.</param>
    /// <param name="targets">[sequences · seq] the id after each, or the ignored one.</param>
    /// <param name="positions">[sequences · seq] places in records, 0 at each record's beginning; null where every sequence is one record.</param>
    /// <param name="share">How it enters the update.</param>
    public void Run(ReadOnlySpan<int> inputs, ReadOnlySpan<int> targets, int[]? positions, MicroBatchShare share)
    {
        _device.MakeCurrent();
        using DisposeScope scope = NewDisposeScope();
        using var noGrad = no_grad();
        int valid = targets.Length - targets.Count((int)_loss.IgnoreIndex);
        PackedRecords? records = _batch.Send(
            inputs, targets, positions, _module.Options.PaddingId, (float)(share.GradientShare / valid), (float)(share.MeasuredShare / valid), _kernels.Stream);
        Calibrate(records);
        Send(records, share.Accumulate);
    }

    /// <summary>Ends an update: chooses the factors of copies in eight bits anew.</summary>
    public void EndUpdate() => _eight?.NextFactors();

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (IDisposable part in _recordings.SelectMany(parts => parts).Cast<IDisposable>().Concat(_layers).Concat(_activations).Concat([_gradients, _batch]).Concat(_eight is null ? [] : [_eight]))
        {
            part.Dispose();
        }

        foreach (DeviceBuffer? buffer in _rounded.Concat([_roundedFlow, _cos, _sin, _normed, _scratch, _flow, _partials, _entropies, _zs, _sums, _workspace]))
        {
            buffer?.Dispose();
        }

        _recorder?.Dispose();
        _products.Dispose();
        _swiGlu?.Dispose();
        _kernels.Dispose();
    }

    void Send(PackedRecords? records, bool accumulate)
    {
        if (records is not null || (accumulate ? 1 : 0) >= _recordings.Count)
        {
            Launch(records, accumulate, _module.Watch, part => part());
        }
        else if (_recordings[accumulate ? 1 : 0] is [var whole])
        {
            whole.Replay();
        }
        else
        {
            int next = 0;
            Launch(records, accumulate, _module.Watch, _ => _recordings[accumulate ? 1 : 0][next++].Replay());
        }
    }

    // The first batch of a run is passed several times, each time with better factors.
    void Calibrate(PackedRecords? records)
    {
        if (_eight is not null && !_isCalibrated)
        {
            _eight.Reset();
            for (int pass = 0; pass < GpuEightBits.CalibrationPasses; pass++)
            {
                Send(records, accumulate: false);
                _eight.NextFactors();
            }

            ClearLosses();
            _isCalibrated = true;
        }
    }

    // The pass, top to bottom. Where every layer has activations of its own, the backward pass finds them; else it fills them again, but for the last layer.
    // `run` is given the parts between the calls of the watch: it makes, records or repeats their launches.
    void Launch(PackedRecords? records, bool accumulate, ILayerWatch? watch, Action<Action> run)
    {
        watch?.BeforeModel();
        run(() => Begin(accumulate));
        foreach (GpuLayer layer in _layers)
        {
            watch?.BeforeForward(layer.Number);
            run(() => Forward(layer, records));
            watch?.AfterForward(layer.Number);
        }

        run(() => FinishForward(accumulate));
        foreach (GpuLayer layer in _layers.Reverse())
        {
            watch?.BeforeBackward(layer.Number);
            run(() => Backward(layer, records, accumulate));
            watch?.AfterBackward(layer.Number);
        }

        run(() => FinishBackward(accumulate));
    }

    void Begin(bool accumulate)
    {
        if (!accumulate)
        {
            _eight?.CopyWeights();
        }

        _kernels.LookUp(_batch.Inputs, _embedding.Value, _layers[0].AttnInput.Address, _tokens);
    }

    void Forward(GpuLayer layer, PackedRecords? records)
    {
        bool isLast = layer.Number == _layers.Length - 1, isKept = _activations.Length > 1 || isLast;
        Forward(layer, isLast ? _flow.Address : _layers[layer.Number + 1].AttnInput.Address, records);
        if (!isKept)
        {
            layer.ReleaseAttention();
        }
    }

    void Backward(GpuLayer layer, PackedRecords? records, bool accumulate)
    {
        if (layer.Attended is null)
        {
            Activate(layer, records);
        }

        Backward(layer, accumulate);
    }

    // Fills the layer's activations from its input, and where a product has SwiGLU in its last step also _scratch.
    void Activate(GpuLayer layer, PackedRecords? records)
    {
        LayerShape shape = layer.Shape;
        EightBits normed = Copy(layer, EightBitOperand.AttnNormed);
        _kernels.RmsNorm(layer.AttnInput.Address, layer.AttnNorm.Value, _normed.Address, _tokens, normed);
        Multiply(_shapes.Forward(_shapes.QkvWidth(shape), _config.ModelDim), layer, EightBitOperand.Qkv, normed, _normed.Address, layer.Qkv.Value, layer.Heads.Address);
        _kernels.NormAndRotate(layer.Heads.Address, layer.QNorm.Value, layer.KNorm.Value, _cos.Address, _sin.Address, _batch.Positions, layer.Rotated.Address, _tokens, shape);
        layer.Attended = layer.Attention.Forward(HeadsOf(layer), records);
        Multiply(_shapes.Adding(_shapes.QueryWidth(shape)), Dispatcher.DataPointer(layer.Attended), layer.Out.Value, layer.FfnInput.Address, layer.AttnInput.Address);
        normed = Copy(layer, EightBitOperand.FfnNormed);
        _kernels.RmsNorm(layer.FfnInput.Address, layer.FfnNorm.Value, _normed.Address, _tokens, normed);
        if (Joins(layer, isBackward: false))
        {
            _swiGlu!.Forward(_normed.Address, layer.Proj1.Value, layer.GateUp.Address, _scratch.Address, (_tokens, shape.FfnDim, _config.ModelDim), _kernels.Stream);
        }
        else
        {
            Multiply(_shapes.Forward(2 * shape.FfnDim, _config.ModelDim), layer, EightBitOperand.Proj1, normed, _normed.Address, layer.Proj1.Value, layer.GateUp.Address);
        }
    }

    void Forward(GpuLayer layer, nint next, PackedRecords? records)
    {
        Activate(layer, records);
        EightBits copy = Copy(layer, EightBitOperand.SwiGlu);
        if (!Joins(layer, isBackward: false))
        {
            _kernels.SwiGlu(layer.GateUp.Address, _scratch.Address, _tokens, layer.Shape.FfnDim, copy);
        }

        Multiply(_shapes.Adding(layer.Shape.FfnDim), layer, EightBitOperand.Proj2, copy, _scratch.Address, layer.Proj2.Value, next, layer.FfnInput.Address);
    }

    // From the last layer's result, which lies where its gradient will, to the loss and back.
    void FinishForward(bool accumulate)
    {
        _kernels.RmsNorm(_flow.Address, _norm.Value, _normed.Address, _tokens);
        HeadAndLoss(accumulate);
        _kernels.RmsNormBackward(_normed.Address, _flow.Address, _norm.Value, _flow.Address, RoundedFlow, _partials.Address, _norm.Gradient, _tokens, isFirst: true, wantsResult: false, accumulate,
            Copy(_layers[^1], EightBitOperand.FlowBehindFfn));
    }

    // _flow holds the gradient of the residual stream behind the layer, and on return that before it.
    void Backward(GpuLayer layer, bool accumulate)
    {
        LayerShape shape = layer.Shape;
        (int model, int qkv, int queries) = (_config.ModelDim, _shapes.QkvWidth(shape), _shapes.QueryWidth(shape));
        (EightBits flow, EightBits gateUp) = (Copy(layer, EightBitOperand.FlowBehindAttention), Copy(layer, EightBitOperand.GateUpGradient));
        if (Joins(layer, isBackward: true))
        {
            _swiGlu!.Backward(FlowOperand, layer.Proj2.Value, layer.GateUp.Address, _scratch.Address, (_tokens, shape.FfnDim, model), _kernels.Stream);
        }
        else
        {
            Multiply(_shapes.Backward(model, shape.FfnDim), layer, EightBitOperand.Proj2, Copy(layer, EightBitOperand.FlowBehindFfn), FlowOperand, layer.Proj2.Value, _scratch.Address); // dy
            _kernels.SwiGluBackward(_scratch.Address, layer.GateUp.Address, _tokens, shape.FfnDim, gateUp);                                     // dy → y
        }

        Multiply(_shapes.Weight(model, shape.FfnDim, accumulate), FlowOperand, _scratch.Address, layer.Proj2.Gradient);
        Multiply(_shapes.Backward(2 * shape.FfnDim, model), layer, EightBitOperand.Proj1, gateUp, layer.GateUp.Address, layer.Proj1.Value, _normed.Address);
        _kernels.RmsNormBackward(
            _normed.Address, layer.FfnInput.Address, layer.FfnNorm.Value, _flow.Address, RoundedFlow, _partials.Address, layer.FfnNorm.Gradient, _tokens, isFirst: false, wantsResult: true, accumulate, flow);
        Multiply(_shapes.Weight(2 * shape.FfnDim, model, accumulate), layer.GateUp.Address, _normed.Address, layer.Proj1.Gradient);

        Multiply(_shapes.Backward(model, queries), layer, EightBitOperand.Out, flow, FlowOperand, layer.Out.Value, _scratch.Address);
        Multiply(_shapes.Weight(model, queries, accumulate), FlowOperand, Dispatcher.DataPointer(layer.Attended!), layer.Out.Gradient);
        EightBits heads = Copy(layer, EightBitOperand.HeadsGradient);
        using (Tensor dy = _scratch.View(Sequences, SequenceLength, shape.QueryHeads, _config.HeadDim))
        {
            (Tensor q, Tensor k, Tensor v) = layer.Attention.Backward(dy);
            _kernels.NormAndRotateBackward(
                Dispatcher.DataPointer(q), Dispatcher.DataPointer(k), Dispatcher.DataPointer(v), layer.Heads.Address, layer.QNorm.Value, layer.KNorm.Value, _cos.Address, _sin.Address,
                _batch.Positions, _partials.Address, layer.QNorm.Gradient, layer.KNorm.Gradient, _tokens, shape, accumulate, heads);
            foreach (Tensor tensor in new[] { q, k, v })
            {
                tensor.Dispose();
            }

            layer.ReleaseAttention();
        }

        Multiply(_shapes.Backward(qkv, model), layer, EightBitOperand.Qkv, heads, layer.Heads.Address, layer.Qkv.Value, _normed.Address);
        _kernels.RmsNormBackward(
            _normed.Address, layer.AttnInput.Address, layer.AttnNorm.Value, _flow.Address, RoundedFlow, _partials.Address, layer.AttnNorm.Gradient, _tokens, isFirst: false, wantsResult: true, accumulate,
            layer.Number > 0 ? Copy(_layers[layer.Number - 1], EightBitOperand.FlowBehindFfn) : default);
        Multiply(_shapes.Weight(qkv, model, accumulate), layer.Heads.Address, _normed.Address, layer.Qkv.Gradient);
    }

    void FinishBackward(bool accumulate)
    {
        if (!_config.ShareInputOutputLayers && !accumulate)
        {
            CudaDevice.Clear(_embedding.Gradient, Gradients[0].Bytes, _kernels.Stream);
        }

        _kernels.LookUpBackward(_flow.Address, _batch.Order, _batch.Starts, _batch.Ids, _batch.Distinct, _batch.MostDistinct, _embedding.Gradient);
    }

    // Logits exist for some rows at a time, become their gradient in place, and give the gradients of head and hidden states at once.
    void HeadAndLoss(bool accumulate)
    {
        long rowBytes = _config.ModelDim * Types.Product.ElementSize();
        for (int begin = 0; begin < _tokens; begin += _rows)
        {
            int rows = Math.Min(_rows, _tokens - begin);
            nint hidden = _normed.Address + (nint)(begin * rowBytes);
            Multiply(_shapes.Logits(rows), hidden, _head.Value, _logits);
            _kernels.CrossEntropy(_logits, _batch.Targets + (begin * sizeof(int)), _entropies.Address + (begin * sizeof(float)), _zs.Address + (begin * sizeof(float)),
                rows, (int)_loss.IgnoreIndex, _batch.Scales, (float)_loss.ZLossFactor, (float)_loss.LabelSmoothing);
            Multiply(_shapes.HeadWeight(rows, accumulate || begin > 0), _logits, hidden, _head.Gradient);
            Multiply(_shapes.Hidden(rows), _logits, _head.Value, hidden);
        }

        _kernels.SumLosses(_entropies.Address, _zs.Address, _sums.Address, _tokens);
    }

    // Every kernel runs once before, on a batch of zeros, because libraries load kernels and make plans at their first call; what libtorch then holds back is given up, for a recording has memory of its own.
    void Record()
    {
        RecordingRefusal = Attention == AttentionBackend.Math ? "attention's gradient is computed by autograd" : TorchGraph.Refusal();
        if (RecordingRefusal is not null)
        {
            return;
        }

        using (NewDisposeScope())
        {
            Array.ForEach([.. Accumulations], WarmUp);
        }

        CudaDevice.Synchronize(_kernels.Stream);
        TorchMemory.ReleaseReserve(TorchDevice);
        _recorder = new CudaStream();
        try
        {
            foreach (bool accumulate in Accumulations)
            {
                Record(accumulate);
            }
        }
        catch (Exception e) when (e is CudaException or InvalidOperationException)
        {
            RecordingRefusal = $"they cannot be recorded ({e.Message})";
            _recordings.SelectMany(parts => parts).ToList().ForEach(part => part.Dispose());
            _recordings.Clear();
            Array.ForEach([.. _layers], layer => layer.ReleaseAttention());
        }
    }

    // One layer after the other, forward and backward, so that no more memory is needed than later.
    void WarmUp(bool accumulate)
    {
        _batch.Clear(_kernels.Stream);
        _kernels.LookUp(_batch.Inputs, _embedding.Value, _layers[0].AttnInput.Address, _tokens);
        FinishForward(accumulate);
        foreach (GpuLayer layer in _layers)
        {
            Forward(layer, _flow.Address, records: null);
            Backward(layer, accumulate);
        }

        FinishBackward(accumulate);
    }

    void Record(bool accumulate)
    {
        var parts = ImmutableArray.CreateBuilder<TorchGraph>();
        try
        {
            if (_module.Watch is null)
            {
                Add(() => Launch(records: null, accumulate, watch: null, part => part()));
            }
            else
            {
                Launch(records: null, accumulate, watch: null, Add); // nothing runs, so the watch has nothing to do
            }
        }
        finally
        {
            _recordings.Add(parts.DrainToImmutable()); // disposed with the others if it is incomplete
        }

        void Add(Action launches)
        {
            TorchGraph? first = parts.FirstOrDefault() ?? _recordings.SelectMany(earlier => earlier).FirstOrDefault();
            parts.Add(TorchGraph.Record(Math.Max(0, TorchDevice.index), _recorder!, first, () =>
            {
                _kernels.Stream = _recorder!.Handle;
                try
                {
                    using DisposeScope scope = NewDisposeScope();
                    launches();
                }
                finally
                {
                    _kernels.Stream = 0;
                }
            }));
        }
    }

    QueryKeyValue HeadsOf(GpuLayer layer)
    {
        (int queries, int kvs) = (layer.Shape.QueryHeads, layer.Shape.KvHeads);
        Tensor rotated = layer.Rotated.View(Sequences, SequenceLength, queries + kvs, _config.HeadDim).transpose(1, 2); // [batch, heads, seq, headDim]
        Tensor all = layer.Heads.View(Sequences, SequenceLength, queries + (2 * kvs), _config.HeadDim).transpose(1, 2);
        return new(rotated.narrow(1, 0, queries), rotated.narrow(1, queries, kvs), all.narrow(1, queries + kvs, kvs));
    }

    AttentionBackend ChooseAttention()
    {
        using DisposeScope scope = NewDisposeScope();
        LayerShape shape = _config.Layers[0];
        Tensor Heads(int count) => empty([1, SequenceLength, count, _config.HeadDim], Types.Product, TorchDevice).transpose(1, 2);

        return GpuAttention.Choose(new(Heads(shape.QueryHeads), Heads(shape.KvHeads), Heads(shape.KvHeads)), _module.Options.Deterministic);
    }

    nint RoundedFlow => _roundedFlow?.Address ?? 0;

    // The gradient of the residual stream as an operand of products.
    nint FlowOperand => (_roundedFlow ?? _flow).Address;

    void Multiply(in ProductShape shape, nint a, nint b, nint d, nint c = 0) => _products.Multiply(shape, a, b, d, _kernels.Stream, c);

    // A product with a weight of a layer, of copies in eight bits where there are any.
    void Multiply(in ProductShape shape, GpuLayer layer, EightBitOperand weight, EightBits copy, nint a, nint b, nint d, nint c = 0)
    {
        if (_eight is null)
        {
            Multiply(shape, a, b, d, c);
            return;
        }

        EightBits weightCopy = _eight.Weight(layer.Number, weight, transposed: !shape.TransposeB);
        _products.Multiply(GpuProductShapes.OfEightBits(shape), copy.Values, weightCopy.Values, d, _kernels.Stream, c, (copy.State, weightCopy.State));
    }

    bool Joins(GpuLayer layer, bool isBackward) => _joined.ContainsKey((layer.Shape.FfnDim, isBackward));

    EightBits Copy(GpuLayer layer, EightBitOperand operand) => _eight is null ? default : _eight[layer.Number, operand];

    // On values such as occur: products of zeros are faster than others.
    void FindFastestProducts()
    {
        _eight?.FillWithAnything();
        foreach (DeviceBuffer buffer in _activations.SelectMany(layer => new[] { layer.FfnInput, layer.Heads, layer.GateUp }).Concat([_normed, _scratch, _roundedFlow ?? _flow]))
        {
            buffer.Tensor.normal_();
        }

        foreach (GpuLayer layer in _layers)
        {
            (int model, int qkv, int queries, int ffn) = (_config.ModelDim, _shapes.QkvWidth(layer.Shape), _shapes.QueryWidth(layer.Shape), layer.Shape.FfnDim);
            (nint normed, nint scratch, nint flow, nint heads, nint gateUp, nint next) = (_normed.Address, _scratch.Address, FlowOperand, layer.Heads.Address, layer.GateUp.Address, layer.AttnInput.Address);
            FindFor(layer, EightBitOperand.Qkv, EightBitOperand.AttnNormed, _shapes.Forward(qkv, model), normed, layer.Qkv.Value, heads);
            Find(_shapes.Adding(queries), scratch, layer.Out.Value, next);
            FindFor(layer, EightBitOperand.Proj1, EightBitOperand.FfnNormed, _shapes.Forward(2 * ffn, model), normed, layer.Proj1.Value, gateUp);
            FindFor(layer, EightBitOperand.Proj2, EightBitOperand.SwiGlu, _shapes.Adding(ffn), scratch, layer.Proj2.Value, next);
            FindFor(layer, EightBitOperand.Proj2, EightBitOperand.FlowBehindFfn, _shapes.Backward(model, ffn), flow, layer.Proj2.Value, scratch);
            FindFor(layer, EightBitOperand.Proj1, EightBitOperand.GateUpGradient, _shapes.Backward(2 * ffn, model), gateUp, layer.Proj1.Value, normed);
            FindFor(layer, EightBitOperand.Out, EightBitOperand.FlowBehindAttention, _shapes.Backward(model, queries), flow, layer.Out.Value, scratch);
            FindFor(layer, EightBitOperand.Qkv, EightBitOperand.HeadsGradient, _shapes.Backward(qkv, model), heads, layer.Qkv.Value, normed);
            foreach (bool accumulate in Accumulations)
            {
                Find(_shapes.Weight(model, ffn, accumulate), flow, scratch, layer.Proj2.Gradient);
                Find(_shapes.Weight(2 * ffn, model, accumulate), gateUp, normed, layer.Proj1.Gradient);
                Find(_shapes.Weight(model, queries, accumulate), flow, scratch, layer.Out.Gradient);
                Find(_shapes.Weight(qkv, model, accumulate), heads, normed, layer.Qkv.Gradient);
            }
        }

        Find(_shapes.Logits(_rows), _normed.Address, _head.Value, _logits);
        Find(_shapes.Hidden(_rows), _logits, _head.Value, _normed.Address);
        foreach (bool accumulate in Accumulations)
        {
            Find(_shapes.HeadWeight(_rows, accumulate), _logits, _normed.Address, _head.Gradient);
        }

        if (_swiGlu is not null && _layers.All(layer => (layer.Proj1.Value | layer.Proj2.Value) % GpuSwiGluProducts.Alignment == 0))
        {
            JoinSwiGlu(_swiGlu);
        }

        _products.SaveChoices();

        void FindFor(GpuLayer layer, EightBitOperand weight, EightBitOperand operand, in ProductShape shape, nint a, nint b, nint d)
        {
            if (_eight is null)
            {
                Find(shape, a, b, d);
                return;
            }

            (EightBits copy, EightBits weightCopy) = (Copy(layer, operand), _eight.Weight(layer.Number, weight, transposed: !shape.TransposeB));
            _products.FindFastest(GpuProductShapes.OfEightBits(shape), copy.Values, weightCopy.Values, d, _kernels.Stream, (copy.State, weightCopy.State));
        }

        void Find(in ProductShape shape, nint a, nint b, nint d) => _products.FindFastest(shape, a, b, d, _kernels.Stream);
    }

    // Finds the widths at which products with SwiGLU in their last step are faster than both steps. They are used only where both ways agree on the first and the last rows of drawn numbers.
    void JoinSwiGlu(GpuSwiGluProducts swiGlu)
    {
        foreach (GpuLayer layer in _layers.DistinctBy(layer => layer.Shape.FfnDim))
        {
            int ffn = layer.Shape.FfnDim, model = _config.ModelDim;
            (nint normed, nint flow, nint gateUp, nint y) = (_normed.Address, FlowOperand, layer.GateUp.Address, _scratch.Address);
            (int, int, int) size = (_tokens, ffn, model);
            Choose("forward", isBackward: false, () => swiGlu.Forward(normed, layer.Proj1.Value, gateUp, y, size, _kernels.Stream), () =>
            {
                Multiply(_shapes.Forward(2 * ffn, model), normed, layer.Proj1.Value, gateUp);
                _kernels.SwiGlu(gateUp, y, _tokens, ffn);
            });
            Choose("backward", isBackward: true, () => swiGlu.Backward(flow, layer.Proj2.Value, gateUp, y, size, _kernels.Stream), () =>
            {
                Multiply(_shapes.Backward(model, ffn), flow, layer.Proj2.Value, y);
                _kernels.SwiGluBackward(y, gateUp, _tokens, ffn);
            });
            layer.GateUp.Tensor.normal_();
            _scratch.Tensor.normal_();

            void Choose(string name, bool isBackward, Action joined, Action apart)
            {
                (float Apart, float Joined)? times = _options.JoinsSwiGlu == true ? (0, 0)
                    : _products.Compare(FormattableString.Invariant($"swiglu {name} {_tokens} x {ffn} x {model}"), apart, joined, () => Agree(apart, joined), _kernels.Stream);
                if (times is { } both && (_options.JoinsSwiGlu == true || both.Joined < both.Apart))
                {
                    _joined.Add((ffn, isBackward), both);
                }
            }

            bool Agree(Action apart, Action joined)
            {
                const int most = 300; // rows, no multiple of a tile's
                const double allowance = 2e-2; // bfloat16 between the steps, or not
                using DisposeScope scope = NewDisposeScope();
                int rows = Math.Min(most, _tokens);
                Tensor[] Ends(DeviceBuffer buffer, int width) => [.. new long[] { 0, _tokens - rows }.Select(first => buffer.View(_tokens, width).narrow(0, first, rows))];

                layer.GateUp.Tensor.normal_();
                Tensor[] inputs = Ends(layer.GateUp, 2 * ffn), results = [.. inputs, .. Ends(_scratch, ffn)];
                Tensor[] before = [.. inputs.Select(part => part.clone())];
                apart();
                Tensor[] expected = [.. results.Select(part => part.to(ScalarType.Float32, copy: true))];
                foreach ((Tensor part, Tensor drawn) in inputs.Zip(before))
                {
                    part.copy_(drawn);
                }

                foreach (Tensor part in results[2..])
                {
                    part.fill_(Number(double.NaN));
                }

                joined();
                return results.Zip(expected).All(pair => ((pair.First.to(ScalarType.Float32) - pair.Second).norm() / pair.Second.norm()).item<float>() <= allowance);
            }
        }
    }

    IEnumerable<bool> Accumulations => _options.Accumulates ? [false, true] : [false];

    DeviceBuffer Rounded(Tensor weight) => new(weight.detach().to_type(Types.Product));

    // A copy, because the model makes its table anew when it meets a longer sequence.
    DeviceBuffer Rows(Tensor table)
    {
        using Tensor rows = table.narrow(0, 0, SequenceLength);
        return new DeviceBuffer(rows.clone());
    }

    DeviceBuffer Empty(ScalarType type, params long[] shape) => DeviceBuffer.Empty(TorchDevice, type, shape);
}
