using System.Collections.Immutable;
using OpenElm.Adapters;
using OpenElm.Checkpoints;
using OpenElm.Configuration;
using OpenElm.Training.Adapters;
using OpenElm.Training.Distributed;
using OpenElm.Training.Kernels;
using OpenElm.Training.Matrices;
using OpenElm.Training.Torch;
using TorchSharp;
using TorchSharp.Modules;
using TorchSharp.Utils;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace OpenElm.Training;

/// <summary>One weight under its canonical name.</summary>
/// <param name="Name">CoreNet's name.</param>
/// <param name="Value">The weight; its <c>grad</c> is filled by the backward pass.</param>
public readonly record struct NamedWeight(string Name, Parameter Value);

/// <summary>A matrix without a bias: y = x · weightᵀ, and what adapters add to it.</summary>
internal sealed class Projection : Module<Tensor, Tensor>
{
    [ComponentName(Name = "weight")] readonly Parameter? _weight; // [outFeatures, inFeatures]; null where the matrix is held in blocks
    readonly ModuleOptions _options;

    public Projection(long inFeatures, long outFeatures, ModuleOptions options, NumbersBuffer? numbers = null)
        : base(nameof(Projection))
    {
        _options = options;
        if (numbers is not null && options.BlocksOf(inFeatures) is { } format)
        {
            Blocks = new BlockedMatrix(format, outFeatures, inFeatures, options, numbers);
        }
        else
        {
            _weight = Parameter(empty(outFeatures, inFeatures, options.WeightType, TorchLibrary.Device(options.Device)));
        }

        Adapters = new AdapterSlot(Blocks ?? (Matrix)new PlainMatrix(_weight!), options.WeightType);
        RegisterComponents();
    }

    /// <summary>The weight, or null where there are <see cref="Blocks"/>.</summary>
    public Parameter? Weight => _weight;

    /// <summary>The frozen weight in blocks, or null.</summary>
    public BlockedMatrix? Blocks { get; }

    public AdapterSlot Adapters { get; }

    /// <param name="input">[batch, seq, inFeatures].</param>
    /// <returns>[batch, seq, outFeatures] in the type of products.</returns>
    public override Tensor forward(Tensor input)
    {
        using DisposeScope scope = NewDisposeScope();
        return Adapters.Multiply(input.to_type(_options.ProductType)).MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            Blocks?.Dispose();
        }

        base.Dispose(disposing);
    }
}

/// <summary>Root-mean-square normalisation with a learned factor for each column.</summary>
internal sealed class RmsNorm : Module<Tensor, Tensor>
{
    [ComponentName(Name = "weight")] readonly Parameter _weight; // [width]
    readonly TrainingKernels _kernels;
    readonly double _eps;

    public RmsNorm(long width, double eps, TrainingKernels kernels, ModuleOptions options)
        : base(nameof(RmsNorm))
    {
        (_eps, _kernels) = (eps, kernels);
        _weight = Parameter(ones(width, options.WeightType, TorchLibrary.Device(options.Device)));
        RegisterComponents();
    }

    public Parameter Weight => _weight;

    /// <param name="input">[batch, seq, width].</param>
    /// <returns>[batch, seq, width].</returns>
    public override Tensor forward(Tensor input) => _kernels.RmsNorm(input, _weight, _eps);
}

/// <summary>Causal attention with grouped heads, QK-norm and RoPE.</summary>
internal sealed class Attention : Module<Tensor, SequenceLayout, Tensor>
{
    [ComponentName(Name = "qkv_proj")] readonly Projection _qkvProj;
    [ComponentName(Name = "q_norm")] readonly RmsNorm? _qNorm;
    [ComponentName(Name = "k_norm")] readonly RmsNorm? _kNorm;
    [ComponentName(Name = "out_proj")] readonly Projection _outProj;
    readonly TrainingKernels _kernels;
    readonly AttentionShape _shape;

    public Attention(OpenElmConfig config, LayerShape layer, TrainingKernels kernels, ModuleOptions options, NumbersBuffer? numbers)
        : base(nameof(Attention))
    {
        (_kernels, _shape) = (kernels, new AttentionShape(layer, config.HeadDim, config.RmsNormEps));
        _qkvProj = new Projection(config.ModelDim, (layer.QueryHeads + (2 * layer.KvHeads)) * config.HeadDim, options, numbers);
        if (config.NormalizeQkProjections)
        {
            _qNorm = new RmsNorm(config.HeadDim, config.RmsNormEps, kernels, options);
            _kNorm = new RmsNorm(config.HeadDim, config.RmsNormEps, kernels, options);
        }

        _outProj = new Projection(layer.QueryHeads * config.HeadDim, config.ModelDim, options, numbers);
        RegisterComponents();
    }

    public IEnumerable<(string Name, AdapterSlot Slot)> Adapters => [("qkv_proj", _qkvProj.Adapters), ("out_proj", _outProj.Adapters)];

    /// <param name="x">[batch, seq, modelDim].</param>
    /// <param name="layout">Positions, and which of them see each other.</param>
    /// <returns>[batch, seq, modelDim].</returns>
    public override Tensor forward(Tensor x, SequenceLayout layout)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor qkv = _qkvProj.call(x);                                          // [batch, seq, (queryHeads + 2 · kvHeads) · headDim]
        QueryKeyValue heads = _kernels.SplitNormRotate(qkv, _qNorm?.Weight, _kNorm?.Weight, layout, _shape);
        Tensor y = _kernels.Attend(heads, layout);                              // [batch, seq, queryHeads · headDim]
        return _outProj.call(y).MoveToOuterDisposeScope();                      // [batch, seq, modelDim]
    }
}

/// <summary>The feed-forward network: SwiGLU, or plain SiLU without the gate.</summary>
internal sealed class FeedForward : Module<Tensor, Tensor>
{
    [ComponentName(Name = "proj_1")] readonly Projection _proj1;
    [ComponentName(Name = "proj_2")] readonly Projection _proj2;
    readonly TrainingKernels _kernels;
    readonly bool _gated;

    public FeedForward(OpenElmConfig config, LayerShape layer, TrainingKernels kernels, ModuleOptions options, NumbersBuffer? numbers)
        : base(nameof(FeedForward))
    {
        (_kernels, _gated) = (kernels, config.FfnWithGlu);
        _proj1 = new Projection(config.ModelDim, (_gated ? 2 : 1) * layer.FfnDim, options, numbers);
        _proj2 = new Projection(layer.FfnDim, config.ModelDim, options, numbers);
        RegisterComponents();
    }

    public IEnumerable<(string Name, AdapterSlot Slot)> Adapters => [("proj_1", _proj1.Adapters), ("proj_2", _proj2.Adapters)];

    /// <param name="input">[batch, seq, modelDim].</param>
    /// <returns>[batch, seq, modelDim].</returns>
    public override Tensor forward(Tensor input)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor u = _proj1.call(input);                                          // [batch, seq, ffnDim or 2 · ffnDim]
        Tensor y = _gated ? _kernels.SwiGlu(u) : functional.silu(u);            // [batch, seq, ffnDim]
        return _proj2.call(y).MoveToOuterDisposeScope();                        // [batch, seq, modelDim]
    }
}

/// <summary>One decoder layer with its own widths.</summary>
internal sealed class DecoderLayer : Module<Tensor, SequenceLayout, Tensor>
{
    [ComponentName(Name = "attn_norm")] readonly RmsNorm _attnNorm;
    [ComponentName(Name = "attn")] readonly Attention _attn;
    [ComponentName(Name = "ffn_norm")] readonly RmsNorm _ffnNorm;
    [ComponentName(Name = "ffn")] readonly FeedForward _ffn;

    public DecoderLayer(OpenElmConfig config, LayerShape layer, TrainingKernels kernels, ModuleOptions options, NumbersBuffer? numbers)
        : base(nameof(DecoderLayer))
    {
        _attnNorm = new RmsNorm(config.ModelDim, config.RmsNormEps, kernels, options);
        _attn = new Attention(config, layer, kernels, options, numbers);
        _ffnNorm = new RmsNorm(config.ModelDim, config.RmsNormEps, kernels, options);
        _ffn = new FeedForward(config, layer, kernels, options, numbers);
        RegisterComponents();
    }

    public IEnumerable<(string Name, AdapterSlot Slot)> Adapters =>
        [.. _attn.Adapters.Select(entry => ("attn." + entry.Name, entry.Slot)), .. _ffn.Adapters.Select(entry => ("ffn." + entry.Name, entry.Slot))];

    /// <param name="x">[batch, seq, modelDim]: the residual stream.</param>
    /// <param name="layout">Positions, and which of them see each other.</param>
    /// <returns>[batch, seq, modelDim].</returns>
    public override Tensor forward(Tensor x, SequenceLayout layout)
    {
        using DisposeScope scope = NewDisposeScope();
        x = x.Plus(_attn.call(_attnNorm.call(x), layout));
        x = x.Plus(_ffn.call(_ffnNorm.call(x)));
        return x.MoveToOuterDisposeScope();
    }
}

/// <summary>OpenELM in tensors, for training. Weights are uninitialised until <see cref="Initialize"/> or <see cref="Load(IReadOnlyDictionary{string, StoredWeight})"/>.</summary>
public sealed class OpenElmModule : Module<Tensor, Tensor>
{
    [ComponentName(Name = "token_embeddings")] readonly Embeddings _embeddings;
    [ComponentName(Name = "layers")] readonly ModuleList<DecoderLayer> _layers;
    [ComponentName(Name = "norm")] readonly RmsNorm _norm;
    [ComponentName(Name = "classifier")] readonly Projection? _classifier;
    readonly RopeTable _rope;
    readonly NumbersBuffer? _numbers;
    readonly ImmutableArray<(string Name, BlockedMatrix Matrix)> _blocked;

    /// <summary>Allocates a model.</summary>
    /// <param name="config">The architecture.</param>
    /// <param name="options">How it computes.</param>
    public OpenElmModule(OpenElmConfig config, ModuleOptions? options = null)
        : base(nameof(OpenElmModule))
    {
        TorchLibrary.EnsureLoaded();
        (Config, Options) = (config.Validated(), options ?? new ModuleOptions());
        var kernels = TrainingKernels.For(Options);
        _numbers = Options.BaseWeights is null ? null : new NumbersBuffer(Options.ProductType, TorchLibrary.Device(Options.Device));
        _embeddings = new Embeddings(Config, Options);
        _layers = new ModuleList<DecoderLayer>([.. Config.Layers.Select(layer => new DecoderLayer(Config, layer, kernels, Options, _numbers))]);
        _norm = new RmsNorm(Config.ModelDim, Config.RmsNormEps, kernels, Options);
        _classifier = Config.ShareInputOutputLayers ? null : new Projection(Config.ModelDim, Config.VocabSize, Options);
        _rope = new RopeTable(Config, TorchLibrary.Device(Options.Device));
        RegisterComponents();

        Dictionary<string, Parameter> byName = named_parameters().ToDictionary(pair => pair.name, pair => pair.parameter);
        (string Name, AdapterSlot Slot)[] slots = [.. _layers.SelectMany((layer, i) => layer.Adapters.Select(entry => ($"layers.{i}.{entry.Name}", entry.Slot)))];
        _blocked = [.. slots.Where(entry => entry.Slot.Matrix is BlockedMatrix).Select(entry => (entry.Name + ".weight", (BlockedMatrix)entry.Slot.Matrix))];
        var blocked = _blocked.Select(entry => entry.Name).ToHashSet();
        Weights = [.. TensorShapes.Of(Config).Where(shape => !blocked.Contains(shape.Name)).Select(shape => new NamedWeight(shape.Name, byName[shape.Name]))];
        Trainable = Weights;
        Adapters = new AdapterCollection(this, slots.Select(entry => KeyValuePair.Create(entry.Name, entry.Slot))
            .Append(KeyValuePair.Create("token_embeddings", _embeddings.Adapters)).ToImmutableDictionary());
    }

    /// <summary>The architecture.</summary>
    public OpenElmConfig Config { get; }

    /// <summary>How the model computes.</summary>
    public ModuleOptions Options { get; }

    /// <summary>Every weight of the base once, in the order of the forward pass; without those held in blocks (<see cref="ModuleOptions.BaseWeights"/>).</summary>
    public ImmutableArray<NamedWeight> Weights { get; }

    /// <summary>What the optimizer changes: all of <see cref="Weights"/>, or beside adapters only theirs; in both cases without what is frozen.</summary>
    public ImmutableArray<NamedWeight> Trainable { get; private set; }

    /// <summary>Told about layers as passes come to them; null for none.</summary>
    internal ILayerWatch? Watch { get; set; }

    /// <summary>The adapters on the model; none at first.</summary>
    public AdapterCollection Adapters { get; }

    /// <summary>[vocab, modelDim]: the embedding of a tied model, without its adapters, else the classifier.</summary>
    public Parameter HeadWeight => _classifier?.Weight! ?? _embeddings.Weight;

    /// <summary>Computes the logits of every position.</summary>
    /// <param name="input">[batch, seq] token ids, int64.</param>
    /// <returns>[batch, seq, vocab] in the type of products.</returns>
    public override Tensor forward(Tensor input) => ComputeLogits(input, _rope.LayoutOf(input.size(1)));

    /// <summary>Computes the logits of every position.</summary>
    /// <param name="ids">[batch, seq] token ids, int64.</param>
    /// <param name="layout">Positions, and which of them see each other.</param>
    /// <returns>[batch, seq, vocab] in the type of products.</returns>
    internal Tensor ComputeLogits(Tensor ids, SequenceLayout layout)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor x = ComputeHidden(ids, layout);                                  // [batch, seq, modelDim]
        return functional.linear(x.to_type(Options.ProductType), HeadWeight.to_type(Options.ProductType)).MoveToOuterDisposeScope();
    }

    /// <summary>Computes what the head reads, so that the loss need not see all logits at once.</summary>
    /// <param name="ids">[batch, seq] token ids, int64.</param>
    /// <returns>[batch, seq, modelDim] after the last norm.</returns>
    public Tensor ComputeHidden(Tensor ids)
    {
        ArgumentNullException.ThrowIfNull(ids);
        return ComputeHidden(ids, _rope.LayoutOf(ids.size(1)));
    }

    /// <summary>The layout of a batch.</summary>
    /// <param name="positions">[batch · seq] positions that begin anew with each record; null where a sequence is one record.</param>
    /// <param name="seq">Positions of a sequence.</param>
    /// <returns>The layout; its tensors belong to the caller's scope and must live until the backward pass is done.</returns>
    internal SequenceLayout LayoutOf(int[]? positions, int seq) => positions is null ? _rope.LayoutOf(seq) : _rope.LayoutOf(positions, seq);

    internal Tensor ComputeHidden(Tensor ids, SequenceLayout layout)
    {
        using DisposeScope scope = NewDisposeScope();
        Watch?.BeforeModel();
        Tensor x = _embeddings.call(ids);                                       // [batch, seq, modelDim]
        foreach ((int i, DecoderLayer layer) in _layers.Index())
        {
            Watch?.BeforeForward(i);
            x = Watch is null ? x : LayerMark.Put(x, Watch, i);
            x = Options.ActivationCheckpointing ? Checkpoint.Run(layer, x, layout, () => Watch?.BeforeBackward(i)) : layer.call(x, layout);
            Watch?.AfterForward(i);
        }

        return _norm.call(x).MoveToOuterDisposeScope();
    }

    /// <summary>Draws new weights (section 1.8 of the reference); the same seed gives the same weights.</summary>
    /// <param name="seed">The seed.</param>
    /// <exception cref="InvalidOperationException">The model has adapters, which belong to the weights it has, or holds weights in blocks, which are loaded.</exception>
    public void Initialize(long seed)
    {
        RefuseAdapters();
        RefuseBlocks();
        Initialization.Draw(this, seed);
    }

    /// <summary>Copies stored weights into the model; those that are held in blocks are quantised on the way.</summary>
    /// <param name="weights">All weights by canonical name, as <see cref="ModelFolder.Weights"/> has them.</param>
    /// <exception cref="OpenElmException">Weights are missing, have other shapes, or numbers that blocks cannot hold.</exception>
    /// <exception cref="InvalidOperationException">The model has adapters, whose magnitudes began with the weights it has.</exception>
    public void Load(IReadOnlyDictionary<string, TensorView> weights) => Load(weights, afterEach: null);

    /// <summary>Copies the weights of a folder into the model one after the other, so that the folder's files do not stay in memory beside it.</summary>
    /// <param name="folder">The folder.</param>
    /// <exception cref="OpenElmException">Weights have other shapes, or numbers that blocks cannot hold.</exception>
    /// <exception cref="InvalidOperationException">The model has adapters, whose magnitudes began with the weights it has.</exception>
    public void Load(ModelFolder folder)
    {
        ArgumentNullException.ThrowIfNull(folder);
        Load(folder.Weights, folder.ReleasePages);
    }

    /// <summary>Copies the weights of an open checkpoint, of whatever format and types, into the model; blocks of the format that is held are taken as they are.</summary>
    /// <param name="weights">All weights by canonical name, as <see cref="Checkpoints.Checkpoint.Weights"/> has them.</param>
    /// <exception cref="OpenElmException">Weights are missing, have other shapes, or numbers that blocks cannot hold.</exception>
    /// <exception cref="InvalidOperationException">The model has adapters, whose magnitudes began with the weights it has.</exception>
    public void Load(IReadOnlyDictionary<string, StoredWeight> weights) => Load(weights, afterEach: null);

    /// <summary>Keeps weights as they are: they leave <see cref="Trainable"/> and get no gradients.</summary>
    /// <param name="expressions">Matched from the start of names as <see cref="AdapterConfig.Freeze"/> says; each must match one.</param>
    /// <exception cref="OpenElmException">An expression is none, or matches no name.</exception>
    public void Freeze(IEnumerable<string> expressions)
    {
        NamedWeight[] all = [.. Weights.Select(weight => weight with { Name = Adapters.NameOfBase(weight.Name) }), .. Adapters.SelectMany(adapter => adapter.Weights)];
        string[] names = [.. all.Select(weight => weight.Name), .. _blocked.Select(entry => Adapters.NameOfBase(entry.Name))];
        IReadOnlySet<string> frozen = NameExpression.Select(expressions, names, "freeze");
        foreach (NamedWeight weight in all.Where(weight => frozen.Contains(weight.Name)))
        {
            weight.Value.requires_grad = false;
        }

        Trainable = [.. Trainable.Where(weight => weight.Value.requires_grad)];
    }

    /// <summary>Lists the base weights for a file writer; they are read when it writes.</summary>
    /// <returns>All weights in the order of the forward pass, in their own type.</returns>
    /// <exception cref="InvalidOperationException">Weights are held in blocks, which are not what was loaded.</exception>
    public IReadOnlyList<TensorSource> ToSources()
    {
        RefuseBlocks();
        return WeightTransfer.ToSources(Weights);
    }

    /// <summary>Finds what is trained after an adapter has come or gone.</summary>
    internal void RefreshTrainable()
    {
        foreach (NamedWeight weight in Weights)
        {
            weight.Value.requires_grad = Adapters.Count == 0;
        }

        Trainable = Adapters.Count == 0 ? Weights : [.. Adapters.SelectMany(adapter => adapter.Weights).Where(weight => weight.Value.requires_grad)];
    }

    void RefuseAdapters()
    {
        if (Adapters.Count > 0)
        {
            throw new InvalidOperationException("The model has adapters; load or draw its weights before they are attached.");
        }
    }

    void RefuseBlocks()
    {
        if (!_blocked.IsEmpty)
        {
            throw new InvalidOperationException($"The model holds weights in blocks of {Options.BaseWeights}; they are loaded and neither drawn nor stored.");
        }
    }

    void Load(IReadOnlyDictionary<string, TensorView> weights, Action? afterEach) =>
        Load(weights.ToDictionary(entry => entry.Key, entry => StoredWeight.Of(entry.Key, entry.Value)), afterEach);

    void Load(IReadOnlyDictionary<string, StoredWeight> weights, Action? afterEach)
    {
        RefuseAdapters();
        WeightTransfer.RequireFit(
            TensorShapes.Of(Config).Select(weight => (weight.Name, weight.Shape.ToArray())), name => weights.TryGetValue(name, out StoredWeight? weight) ? weight.Shape : default,
            "The stored weights do not fit the model");
        foreach (NamedWeight weight in Weights)
        {
            WeightTransfer.Copy(weights[weight.Name], weight.Value);
            afterEach?.Invoke();
        }

        foreach ((string name, BlockedMatrix matrix) in _blocked)
        {
            matrix.Load(weights[name]);
            afterEach?.Invoke();
        }
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            Adapters.DisposeAll();
            _rope.Dispose();
            _numbers?.Dispose();
        }

        base.Dispose(disposing);
    }
}

/// <summary>The token embedding: one row for each id, no scale, and what adapters add to it. The tied head reads the weight without them.</summary>
internal sealed class Embeddings : Module<Tensor, Tensor>
{
    [ComponentName(Name = "weight")] readonly Parameter _weight; // [vocab, modelDim]
    readonly long? _paddingId;

    public Embeddings(OpenElmConfig config, ModuleOptions options)
        : base(nameof(Embeddings))
    {
        _paddingId = options.PaddingId;
        _weight = Parameter(empty(config.VocabSize, config.ModelDim, options.WeightType, TorchLibrary.Device(options.Device)));
        Adapters = new AdapterSlot(new PlainMatrix(_weight), options.WeightType);
        RegisterComponents();
    }

    public Parameter Weight => _weight;

    public AdapterSlot Adapters { get; }

    /// <param name="input">[batch, seq] token ids.</param>
    /// <returns>[batch, seq, modelDim].</returns>
    public override Tensor forward(Tensor input)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor rows = Dispatcher.Embedding(Adapters.Merged ?? _weight, input, _paddingId);
        foreach (LowRankLayer adapter in Adapters.Active)
        {
            rows = adapter.AddRowsTo(input, rows, _paddingId);
        }

        return rows.MoveToOuterDisposeScope();
    }
}
