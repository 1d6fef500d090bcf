using System.Collections.Immutable;
using OpenElm.Configuration;
using OpenElm.Cuda;
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

/// <summary>
/// Forward and backward pass of the whole model on the GPU, written by hand: buffers of a fixed size that are allocated once, our kernels
/// between cuBLASLt's products, libtorch's attention. docs/gpu-training.md says what is kept, what is computed again, and why.
/// </summary>
internal sealed class GpuPass : IDisposable
{
    const long WorkspaceBytes = 64L << 20;

    readonly OpenElmModule _module;
    readonly OpenElmConfig _config;
    readonly LossOptions _loss;
    readonly CudaDevice _device;
    readonly GpuKernels _kernels;
    readonly MatrixProducts _products;
    readonly MatrixType _product, _residual, _gradient;
    readonly ImmutableArray<GpuLayer> _layers;
    readonly WeightPair _embedding, _norm, _head;
    readonly EmbeddingOrder _order;
    readonly PinnedStaging<int> _staging;
    readonly DeviceBuffer _batch;
    readonly DeviceBuffer _last, _normed, _scratch, _flow, _partials, _entropies, _zs, _sums, _workspace;
    readonly int _tokens, _rows;

    /// <summary>Allocates every buffer and finds the fastest algorithm of every product.</summary>
    /// <param name="module">The model; its weights stay where they are.</param>
    /// <param name="sequences">Sequences of a micro-batch.</param>
    /// <param name="sequenceLength">Tokens of a sequence.</param>
    /// <param name="loss">The loss.</param>
    /// <param name="accumulates">Whether an update has several micro-batches: their gradients are then summed in single precision.</param>
    public GpuPass(OpenElmModule module, int sequences, int sequenceLength, LossOptions loss, bool accumulates)
    {
        (_module, _config, _loss, Sequences, SequenceLength) = (module, module.Config, loss, sequences, sequenceLength);
        ScalarType weight = module.Options.WeightType;
        Types = new GpuTypes(weight, module.Options.ProductType, accumulates ? ScalarType.Float32 : weight);
        (_residual, _product, _gradient) = (TypeOf(Types.Residual), TypeOf(Types.Product), TypeOf(Types.Gradient));
        TorchDevice = TorchLibrary.Device(module.Options.Device);
        using var noGrad = no_grad();
        _device = new CudaDevice(Math.Max(0, TorchDevice.index));
        _kernels = new GpuKernels(_device, _config, Types);
        _tokens = sequences * sequenceLength;
        _rows = loss.ChunkRows > 0 ? Math.Min(loss.ChunkRows, _tokens) : _tokens;

        Gradients = [.. module.Weights.Select(entry => Empty(Types.Gradient, entry.Value.shape))];
        var pairs = module.Weights.Zip(Gradients, (entry, gradient) => (entry.Name, Pair: new WeightPair(Dispatcher.DataPointer(entry.Value), gradient.Address)))
            .ToDictionary(entry => entry.Name, entry => entry.Pair);
        _layers = [.. Enumerable.Range(0, _config.NumTransformerLayers).Select(i => new GpuLayer(_config, i, _tokens, Types, TorchDevice, name => pairs[name]))];
        (_embedding, _norm) = (pairs["token_embeddings.weight"], pairs["norm.weight"]);
        _head = _config.ShareInputOutputLayers ? _embedding : pairs["classifier.weight"];

        _order = new EmbeddingOrder(_config.VocabSize, _tokens);
        _staging = new PinnedStaging<int>((5 * _tokens) + 1);
        _batch = Empty(ScalarType.Int32, (5 * _tokens) + 1);
        _last = Empty(Types.Residual, _tokens, _config.ModelDim);
        _normed = Empty(Types.Product, _tokens, _config.ModelDim);
        _flow = Empty(Types.Residual, _tokens, _config.ModelDim);
        // Logits, what SwiGLU gives and attention's gradient are never there at the same time.
        long ffn = _config.Layers.Max(layer => layer.FfnDim), queries = _config.Layers.Max(layer => layer.QueryHeads) * (long)_config.HeadDim;
        _scratch = Empty(Types.Product, Math.Max(_rows * (long)_config.VocabSize, _tokens * Math.Max(ffn, queries)));
        _partials = Empty(ScalarType.Float32, _kernels.PartialFloats);
        (_entropies, _zs, _sums) = (Empty(ScalarType.Float32, _tokens), Empty(ScalarType.Float32, _tokens), Empty(ScalarType.Float32, 2));
        _workspace = Empty(ScalarType.Byte, WorkspaceBytes);
        _products = new MatrixProducts(_workspace.Address, WorkspaceBytes, _device.Name);
        FindFastestProducts();
    }

    /// <summary>Number formats.</summary>
    public GpuTypes Types { get; }

    /// <summary>The GPU as libtorch names it.</summary>
    public Device TorchDevice { get; }

    public int Sequences { get; }

    public int SequenceLength { get; }

    /// <summary>The kernels, for the optimizer.</summary>
    public GpuKernels Kernels => _kernels;

    /// <summary>A gradient for each weight of the model, in its order.</summary>
    public ImmutableArray<DeviceBuffer> Gradients { get; }

    /// <summary>What the search for algorithms found.</summary>
    public IReadOnlyList<(ProductShape Shape, float FirstMicroseconds, float BestMicroseconds, int Chosen)> ProductTimings => _products.Timings;

    /// <summary>Forgets the sums of losses.</summary>
    public void ClearLosses() => CudaDevice.Clear(_sums.Address, _sums.Bytes, GpuKernels.Stream);

    /// <summary>The losses since <see cref="ClearLosses"/>.</summary>
    /// <returns>[2]: cross entropy and z-loss, each weighted as reported; a copy, to be disposed.</returns>
    public Tensor CopyLosses() => _sums.Tensor.clone();

    /// <summary>Puts forward and backward pass of a micro-batch into the stream.</summary>
    /// <param name="inputs">[sequences · seq] ids.</param>
    /// <param name="targets">[sequences · seq] the id after each, or the ignored one.</param>
    /// <param name="share">How it enters the update.</param>
    public void Run(ReadOnlySpan<int> inputs, ReadOnlySpan<int> targets, MicroBatchShare share)
    {
        _device.MakeCurrent();
        using DisposeScope scope = NewDisposeScope();
        using var noGrad = no_grad();
        Send(inputs, targets);
        SequenceLayout layout = _module.LayoutOf(null, SequenceLength);
        (nint cos, nint sin) = (Dispatcher.DataPointer(layout.Cos), Dispatcher.DataPointer(layout.Sin));

        _kernels.LookUp(BatchPart(0), _embedding.Value, _layers[0].AttnInput.Address, _tokens);
        for (int i = 0; i < _layers.Length; i++)
        {
            Forward(_layers[i], i + 1 < _layers.Length ? _layers[i + 1].AttnInput.Address : _last.Address, cos, sin);
        }

        _kernels.RmsNorm(_last.Address, _norm.Value, _normed.Address, _tokens);
        int valid = targets.Length - targets.Count((int)_loss.IgnoreIndex);
        HeadAndLoss((float)(share.GradientShare / valid), (float)(share.MeasuredShare / valid), share.Accumulate);
        _kernels.RmsNormBackward(_normed.Address, _last.Address, _norm.Value, _flow.Address, _partials.Address, _norm.Gradient, _tokens, isFirst: true, wantsResult: false, share.Accumulate);
        for (int i = _layers.Length - 1; i >= 0; i--)
        {
            Backward(_layers[i], cos, sin, share.Accumulate);
        }

        if (!_config.ShareInputOutputLayers && !share.Accumulate)
        {
            CudaDevice.Clear(_embedding.Gradient, Gradients[0].Bytes, GpuKernels.Stream);
        }

        _kernels.LookUpBackward(_flow.Address, BatchPart(2), BatchPart(4), BatchPart(3), _order.Distinct, _embedding.Gradient);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (GpuLayer layer in _layers)
        {
            layer.Dispose();
        }

        foreach (DeviceBuffer buffer in Gradients.Concat([_batch, _last, _normed, _scratch, _flow, _partials, _entropies, _zs, _sums, _workspace]))
        {
            buffer.Dispose();
        }

        _staging.Dispose();
        _products.Dispose();
        _kernels.Dispose();
    }

    // Five parts of a row of tokens each, the last with one number more: inputs, targets, tokens by id, ids that occur, where each begins.
    void Send(ReadOnlySpan<int> inputs, ReadOnlySpan<int> targets)
    {
        _order.Sort(inputs, _module.Options.PaddingId);
        Span<int> staging = _staging.Next();
        inputs.CopyTo(staging);
        targets.CopyTo(staging[_tokens..]);
        _order.Order.CopyTo(staging[(2 * _tokens)..]);
        _order.Ids.CopyTo(staging[(3 * _tokens)..]);
        _order.Starts.CopyTo(staging[(4 * _tokens)..]);
        _staging.Send(_batch.Address, GpuKernels.Stream);
    }

    nint BatchPart(int number) => _batch.Address + (number * _tokens * sizeof(int));

    void Forward(GpuLayer layer, nint next, nint cos, nint sin)
    {
        LayerShape shape = layer.Shape;
        _kernels.RmsNorm(layer.AttnInput.Address, layer.AttnNorm.Value, _normed.Address, _tokens);
        Multiply(ForwardShape(QkvWidth(shape), _config.ModelDim), _normed.Address, layer.Qkv.Value, layer.Heads.Address);
        _kernels.NormAndRotate(layer.Heads.Address, layer.QNorm.Value, layer.KNorm.Value, cos, sin, layer.Rotated.Address, _tokens, SequenceLength, shape);
        layer.Attended = layer.Attention.Forward(HeadsOf(layer));
        nint attended = Dispatcher.DataPointer(layer.Attended);
        Multiply(AddingShape(QueryWidth(shape)), attended, layer.Out.Value, layer.FfnInput.Address, layer.AttnInput.Address);
        _kernels.RmsNorm(layer.FfnInput.Address, layer.FfnNorm.Value, _normed.Address, _tokens);
        Multiply(ForwardShape(2 * shape.FfnDim, _config.ModelDim), _normed.Address, layer.Proj1.Value, layer.GateUp.Address);
        _kernels.SwiGlu(layer.GateUp.Address, _scratch.Address, _tokens, shape.FfnDim);
        Multiply(AddingShape(shape.FfnDim), _scratch.Address, layer.Proj2.Value, next, layer.FfnInput.Address);
    }

    // _flow holds the gradient of the residual stream behind the layer, and on return that before it.
    void Backward(GpuLayer layer, nint cos, nint sin, bool accumulate)
    {
        LayerShape shape = layer.Shape;
        Multiply(BackwardShape(_config.ModelDim, shape.FfnDim), _flow.Address, layer.Proj2.Value, _scratch.Address);                        // dy
        _kernels.SwiGluBackward(_scratch.Address, layer.GateUp.Address, _tokens, shape.FfnDim);                                             // dy → y
        Multiply(WeightShape(_config.ModelDim, shape.FfnDim, accumulate), _flow.Address, _scratch.Address, layer.Proj2.Gradient);
        Multiply(BackwardShape(2 * shape.FfnDim, _config.ModelDim), layer.GateUp.Address, layer.Proj1.Value, _normed.Address);
        _kernels.RmsNormBackward(_normed.Address, layer.FfnInput.Address, layer.FfnNorm.Value, _flow.Address, _partials.Address, layer.FfnNorm.Gradient, _tokens, isFirst: false, wantsResult: true, accumulate);
        Multiply(WeightShape(2 * shape.FfnDim, _config.ModelDim, accumulate), layer.GateUp.Address, _normed.Address, layer.Proj1.Gradient);

        Multiply(BackwardShape(_config.ModelDim, QueryWidth(shape)), _flow.Address, layer.Out.Value, _scratch.Address);
        Multiply(WeightShape(_config.ModelDim, QueryWidth(shape), accumulate), _flow.Address, Dispatcher.DataPointer(layer.Attended!), layer.Out.Gradient);
        using (Tensor dy = _scratch.View(Sequences, SequenceLength, shape.QueryHeads, _config.HeadDim))
        {
            (Tensor q, Tensor k, Tensor v) = layer.Attention.Backward(dy);
            _kernels.NormAndRotateBackward(
                Dispatcher.DataPointer(q), Dispatcher.DataPointer(k), Dispatcher.DataPointer(v), layer.Heads.Address, layer.QNorm.Value, layer.KNorm.Value, cos, sin,
                _partials.Address, layer.QNorm.Gradient, layer.KNorm.Gradient, _tokens, SequenceLength, shape, accumulate);
            foreach (Tensor tensor in new[] { q, k, v, layer.Attended! })
            {
                tensor.Dispose();
            }

            layer.Attended = null;
        }

        Multiply(BackwardShape(QkvWidth(shape), _config.ModelDim), layer.Heads.Address, layer.Qkv.Value, _normed.Address);
        _kernels.RmsNormBackward(_normed.Address, layer.AttnInput.Address, layer.AttnNorm.Value, _flow.Address, _partials.Address, layer.AttnNorm.Gradient, _tokens, isFirst: false, wantsResult: true, accumulate);
        Multiply(WeightShape(QkvWidth(shape), _config.ModelDim, accumulate), layer.Heads.Address, _normed.Address, layer.Qkv.Gradient);
    }

    // Logits exist for some rows at a time, become their gradient in place, and give the gradients of head and hidden states at once.
    void HeadAndLoss(float gradientScale, float measuredScale, bool accumulate)
    {
        int width = _config.ModelDim, vocab = _config.VocabSize;
        long rowBytes = width * Types.Product.ElementSize();
        for (int begin = 0; begin < _tokens; begin += _rows)
        {
            int rows = Math.Min(_rows, _tokens - begin);
            nint hidden = _normed.Address + (nint)(begin * rowBytes);
            Multiply(LogitShape(rows), hidden, _head.Value, _scratch.Address);
            _kernels.CrossEntropy(_scratch.Address, BatchPart(1) + (begin * sizeof(int)), _entropies.Address + (begin * sizeof(float)), _zs.Address + (begin * sizeof(float)),
                rows, (int)_loss.IgnoreIndex, gradientScale, measuredScale, (float)_loss.ZLossFactor, (float)_loss.LabelSmoothing);
            Multiply(HeadWeightShape(rows, accumulate || begin > 0), _scratch.Address, hidden, _head.Gradient);
            Multiply(HiddenShape(rows), _scratch.Address, _head.Value, hidden);
        }

        _kernels.SumLosses(_entropies.Address, _zs.Address, _sums.Address, _tokens);
    }

    QueryKeyValue HeadsOf(GpuLayer layer)
    {
        (int queries, int kvs) = (layer.Shape.QueryHeads, layer.Shape.KvHeads);
        Tensor rotated = layer.Rotated.Tensor.view(Sequences, SequenceLength, queries + kvs, _config.HeadDim).transpose(1, 2); // [batch, heads, seq, headDim]
        Tensor all = layer.Heads.Tensor.view(Sequences, SequenceLength, queries + (2 * kvs), _config.HeadDim).transpose(1, 2);
        return new(rotated.narrow(1, 0, queries), rotated.narrow(1, queries, kvs), all.narrow(1, queries + kvs, kvs));
    }

    int QkvWidth(LayerShape shape) => (shape.QueryHeads + (2 * shape.KvHeads)) * _config.HeadDim;

    int QueryWidth(LayerShape shape) => shape.QueryHeads * _config.HeadDim;

    // y = x · Wᵀ for a weight [outputs, inputs].
    ProductShape ForwardShape(int outputs, int inputs) => new(_tokens, outputs, inputs, TransposeA: false, TransposeB: true, _product, _product);

    // The residual stream behind a branch: x + y · Wᵀ.
    ProductShape AddingShape(int inputs) => new(_tokens, _config.ModelDim, inputs, TransposeA: false, TransposeB: true, _product, _residual, Addend: 1);

    // dx = dy · W.
    ProductShape BackwardShape(int outputs, int inputs) => new(_tokens, inputs, outputs, TransposeA: false, TransposeB: false, _product, _product);

    // dW = dyᵀ · x.
    ProductShape WeightShape(int outputs, int inputs, bool accumulate) => new(outputs, inputs, _tokens, TransposeA: true, TransposeB: false, _product, _gradient, accumulate ? 1 : 0);

    ProductShape LogitShape(int rows) => new(rows, _config.VocabSize, _config.ModelDim, TransposeA: false, TransposeB: true, _product, _product);

    ProductShape HiddenShape(int rows) => new(rows, _config.ModelDim, _config.VocabSize, TransposeA: false, TransposeB: false, _product, _product);

    ProductShape HeadWeightShape(int rows, bool accumulate) => new(_config.VocabSize, _config.ModelDim, rows, TransposeA: true, TransposeB: false, _product, _gradient, accumulate ? 1 : 0);

    void Multiply(in ProductShape shape, nint a, nint b, nint d, nint c = 0) => _products.Multiply(shape, a, b, d, GpuKernels.Stream, c);

    // On values such as occur: products of zeros are faster than others.
    void FindFastestProducts()
    {
        foreach (DeviceBuffer buffer in _layers.SelectMany(layer => new[] { layer.FfnInput, layer.Heads, layer.GateUp }).Concat([_normed, _scratch, _flow]))
        {
            buffer.Tensor.normal_();
        }

        foreach (GpuLayer layer in _layers)
        {
            (int model, int qkv, int queries, int ffn) = (_config.ModelDim, QkvWidth(layer.Shape), QueryWidth(layer.Shape), layer.Shape.FfnDim);
            (nint normed, nint scratch, nint flow, nint heads, nint gateUp, nint next) = (_normed.Address, _scratch.Address, _flow.Address, layer.Heads.Address, layer.GateUp.Address, layer.AttnInput.Address);
            Find(ForwardShape(qkv, model), normed, layer.Qkv.Value, heads);
            Find(AddingShape(queries), scratch, layer.Out.Value, next);
            Find(ForwardShape(2 * ffn, model), normed, layer.Proj1.Value, gateUp);
            Find(AddingShape(ffn), scratch, layer.Proj2.Value, next);
            Find(BackwardShape(model, ffn), flow, layer.Proj2.Value, scratch);
            Find(BackwardShape(2 * ffn, model), gateUp, layer.Proj1.Value, normed);
            Find(BackwardShape(model, queries), flow, layer.Out.Value, scratch);
            Find(BackwardShape(qkv, model), heads, layer.Qkv.Value, normed);
            foreach (bool accumulate in Accumulations)
            {
                Find(WeightShape(model, ffn, accumulate), flow, scratch, layer.Proj2.Gradient);
                Find(WeightShape(2 * ffn, model, accumulate), gateUp, normed, layer.Proj1.Gradient);
                Find(WeightShape(model, queries, accumulate), flow, scratch, layer.Out.Gradient);
                Find(WeightShape(qkv, model, accumulate), heads, normed, layer.Qkv.Gradient);
            }
        }

        Find(HiddenShape(_rows), _scratch.Address, _head.Value, _normed.Address);
        foreach (bool accumulate in Accumulations)
        {
            Find(HeadWeightShape(_rows, accumulate), _scratch.Address, _normed.Address, _head.Gradient);
        }

        Find(LogitShape(_rows), _normed.Address, _head.Value, _scratch.Address);
        _products.SaveChoices();

        void Find(in ProductShape shape, nint a, nint b, nint d) => _products.FindFastest(shape, a, b, d, GpuKernels.Stream);
    }

    IEnumerable<bool> Accumulations => Types.Gradient == Types.Product ? [false] : [false, true];

    DeviceBuffer Empty(ScalarType type, params long[] shape) => DeviceBuffer.Empty(TorchDevice, type, shape);

    static MatrixType TypeOf(ScalarType type) => type == ScalarType.BFloat16 ? MatrixType.Bf16 : MatrixType.Fp32;
}
