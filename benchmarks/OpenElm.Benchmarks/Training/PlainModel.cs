using OpenElm.Configuration;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace OpenElm.Benchmarks.Training;

/// <summary>The same model as a user of TorchSharp would write it: stock modules and functions, stock AdamW, stock losses.</summary>
internal sealed class PlainModel : Module<Tensor, Tensor>
{
    readonly OpenElmConfig _config;
    readonly Embedding _embedding;
    readonly ModuleList<PlainLayer> _layers = new();
    readonly PlainNorm _norm;
    readonly Tensor _cos, _sin;

    public PlainModel(OpenElmConfig config)
        : base(nameof(PlainModel))
    {
        _config = config;
        _embedding = Embedding(config.VocabSize, config.ModelDim);
        foreach (LayerShape layer in config.Layers)
        {
            _layers.Add(new PlainLayer(config, layer));
        }

        _norm = new PlainNorm(config.ModelDim, config.RmsNormEps);
        RegisterComponents();
        using var noGrad = no_grad();
        Tensor frequencies = 1.0 / torch.pow(config.RopeFreqConstant, arange(0, config.HeadDim, 2, ScalarType.Float32) / config.HeadDim);
        Tensor angles = outer(arange(0, config.MaxContextLength, ScalarType.Float32), frequencies).repeat(1, 2);
        (_cos, _sin) = (angles.cos(), angles.sin());
    }

    public override Tensor forward(Tensor ids)
    {
        Tensor x = _embedding.call(ids);
        long seq = ids.shape[1];
        (Tensor cos, Tensor sin) = (_cos[TensorIndex.Slice(0, seq)], _sin[TensorIndex.Slice(0, seq)]);
        foreach (PlainLayer layer in _layers)
        {
            x = layer.call(x, cos, sin);
        }

        return functional.linear(_norm.call(x), _embedding.weight!);
    }

    /// <summary>Cross entropy plus z-loss.</summary>
    public static Tensor Loss(Tensor logits, Tensor targets)
    {
        Tensor rows = logits.view(-1, logits.shape[^1]);
        return functional.cross_entropy(rows, targets.view(-1)) + (1e-4 * rows.logsumexp(-1).square().mean());
    }

    /// <summary>Stock AdamW over the two groups of the paper.</summary>
    public optim.Optimizer CreateOptimizer(double learningRate)
    {
        Parameter[] all = [.. parameters()];
        return optim.AdamW(
            [
                new AdamW.ParamGroup { Parameters = all.Where(p => p.dim() >= 2), Options = new AdamW.Options { weight_decay = 0.1 } },
                new AdamW.ParamGroup { Parameters = all.Where(p => p.dim() < 2), Options = new AdamW.Options { weight_decay = 0.0 } },
            ],
            lr: learningRate, beta1: 0.9, beta2: 0.95, eps: 1e-8);
    }
}

internal sealed class PlainNorm : Module<Tensor, Tensor>
{
    readonly Parameter _weight;
    readonly double _eps;

    public PlainNorm(long width, double eps)
        : base(nameof(PlainNorm))
    {
        _eps = eps;
        _weight = Parameter(ones(width));
        RegisterComponents();
    }

    public override Tensor forward(Tensor x) => x * rsqrt(x.pow(2).mean([-1], keepdim: true) + _eps) * _weight;
}

internal sealed class PlainLayer : Module<Tensor, Tensor, Tensor, Tensor>
{
    readonly PlainNorm _attnNorm, _ffnNorm;
    readonly PlainNorm? _qNorm, _kNorm;
    readonly Linear _qkv, _out, _proj1, _proj2;
    readonly long _queryHeads, _kvHeads, _headDim;

    public PlainLayer(OpenElmConfig config, LayerShape layer)
        : base(nameof(PlainLayer))
    {
        (_queryHeads, _kvHeads, _headDim) = (layer.QueryHeads, layer.KvHeads, config.HeadDim);
        _attnNorm = new PlainNorm(config.ModelDim, config.RmsNormEps);
        _ffnNorm = new PlainNorm(config.ModelDim, config.RmsNormEps);
        _qkv = Linear(config.ModelDim, (_queryHeads + (2 * _kvHeads)) * _headDim, hasBias: false);
        _out = Linear(_queryHeads * _headDim, config.ModelDim, hasBias: false);
        _proj1 = Linear(config.ModelDim, 2 * layer.FfnDim, hasBias: false);
        _proj2 = Linear(layer.FfnDim, config.ModelDim, hasBias: false);
        if (config.NormalizeQkProjections)
        {
            _qNorm = new PlainNorm(_headDim, config.RmsNormEps);
            _kNorm = new PlainNorm(_headDim, config.RmsNormEps);
        }

        RegisterComponents();
    }

    public override Tensor forward(Tensor x, Tensor cos, Tensor sin)
    {
        (long batch, long seq) = (x.shape[0], x.shape[1]);
        Tensor heads = _qkv.call(_attnNorm.call(x)).view(batch, seq, _queryHeads + (2 * _kvHeads), _headDim).transpose(1, 2);
        Tensor[] parts = heads.split([_queryHeads, _kvHeads, _kvHeads], dim: 1);
        Tensor q = Rotate(_qNorm?.call(parts[0]) ?? parts[0], cos, sin);
        Tensor k = Rotate(_kNorm?.call(parts[1]) ?? parts[1], cos, sin);
        long group = _queryHeads / _kvHeads;
        Tensor y = functional.scaled_dot_product_attention(q, k.repeat_interleave(group, dim: 1), parts[2].repeat_interleave(group, dim: 1), is_casual: true);
        x = x + _out.call(y.transpose(1, 2).reshape(batch, seq, _queryHeads * _headDim));
        Tensor[] gateUp = _proj1.call(_ffnNorm.call(x)).chunk(2, -1);
        return x + _proj2.call(functional.silu(gateUp[0]) * gateUp[1]);
    }

    static Tensor Rotate(Tensor x, Tensor cos, Tensor sin)
    {
        Tensor[] halves = x.chunk(2, -1);
        return (x * cos) + (cat([-halves[1], halves[0]], -1) * sin);
    }
}
