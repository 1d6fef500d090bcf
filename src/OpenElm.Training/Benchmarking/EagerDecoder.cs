using System.Collections.Immutable;
using OpenElm.Configuration;
using OpenElm.Training.Kernels;
using OpenElm.Training.Torch;
using TorchSharp;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace OpenElm.Training.Benchmarking;

/// <summary>
/// Generation as the paper's benchmark does it: one libtorch operator after another, keys and values in a cache, nothing compiled.
/// The peer of <c>bench norms</c>; for text there is OpenElm.Inference.
/// </summary>
internal sealed class EagerDecoder : IDisposable
{
    readonly OpenElmConfig _config;
    readonly TrainingKernels _kernels;
    readonly ImmutableArray<LayerWeights> _layers;
    readonly Tensor _embedding, _finalNorm, _head;
    readonly ImmutableArray<(Tensor Keys, Tensor Values)> _cache; // [1, kvHeads, length, headDim]
    readonly RopeTable _rope;

    /// <summary>Takes the weights of a model and makes room for one sequence.</summary>
    /// <param name="module">The model; it must outlive the decoder.</param>
    /// <param name="kernels">The steps between products.</param>
    /// <param name="length">Positions of the cache.</param>
    public EagerDecoder(OpenElmModule module, TrainingKernels kernels, int length)
    {
        (_config, _kernels) = (module.Config, kernels);
        Dictionary<string, Tensor> weights = module.Weights.ToDictionary(weight => weight.Name, weight => (Tensor)weight.Value);
        (_embedding, _finalNorm, _head) = (weights[TensorNames.Embedding], weights[TensorNames.FinalNorm], module.HeadWeight);
        _layers = [.. _config.Layers.Select((_, i) => LayerWeights.Of(part => weights.GetValueOrDefault(TensorNames.Layer(i, part))))];
        Device device = TorchLibrary.Device(module.Options.Device);
        _cache = [.. _config.Layers.Select(layer => (Empty(layer), Empty(layer)))];
        _rope = new RopeTable(_config with { MaxContextLength = length, RopeMaxLength = Math.Max(length, _config.RopeMaxLength) }, device);

        Tensor Empty(LayerShape layer) => empty([1, layer.KvHeads, length, _config.HeadDim], module.Options.ProductType, device).DetachFromDisposeScope();
    }

    /// <summary>Computes the tokens that come next in the sequence.</summary>
    /// <param name="ids">[1, tokens], int64.</param>
    /// <param name="position">How many tokens are in the cache; more than one token can only begin a sequence.</param>
    /// <returns>[1, vocab]: the logits behind the last token.</returns>
    public Tensor Step(Tensor ids, int position)
    {
        using var noGradients = no_grad();
        using DisposeScope scope = NewDisposeScope();
        (long tokens, bool begins) = (ids.size(1), position == 0);
        var layout = new SequenceLayout(_rope.Cos.narrow(0, position, tokens), _rope.Sin.narrow(0, position, tokens), tokens, Segments: default);
        Tensor x = Dispatcher.Embedding(_embedding, ids, null);                                                 // [1, tokens, modelDim]
        for (int i = 0; i < _layers.Length; i++)
        {
            (LayerWeights layer, (Tensor keys, Tensor values)) = (_layers[i], _cache[i]);
            Tensor qkv = functional.linear(Norm(x, layer.AttnNorm), layer.QkvProj);
            QueryKeyValue heads = _kernels.SplitNormRotate(qkv, layer.QNorm, layer.KNorm, layout, new AttentionShape(_config.Layers[i], _config.HeadDim, _config.RmsNormEps));
            keys.narrow(2, position, tokens).copy_(heads.K);
            values.narrow(2, position, tokens).copy_(heads.V);
            Tensor y = Dispatcher.Attention(heads.Q, keys.narrow(2, 0, position + tokens), values.narrow(2, 0, position + tokens), causal: begins);
            x = x.Plus(functional.linear(y.transpose(1, 2).reshape(1, tokens, -1), layer.OutProj));
            Tensor gateUp = functional.linear(Norm(x, layer.FfnNorm), layer.Proj1);
            x = x.Plus(functional.linear(_kernels.SwiGlu(gateUp), layer.Proj2));
        }

        return functional.linear(Norm(x, _finalNorm).select(1, tokens - 1), _head).MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _rope.Dispose();
        foreach ((Tensor keys, Tensor values) in _cache)
        {
            keys.Dispose();
            values.Dispose();
        }
    }

    Tensor Norm(Tensor x, Tensor weight) => _kernels.RmsNorm(x, weight, _config.RmsNormEps);

    sealed record LayerWeights(Tensor AttnNorm, Tensor QkvProj, Tensor? QNorm, Tensor? KNorm, Tensor OutProj, Tensor FfnNorm, Tensor Proj1, Tensor Proj2)
    {
        public static LayerWeights Of(Func<string, Tensor?> weight) => new(
            weight("attn_norm")!, weight("attn.qkv_proj")!, weight("attn.q_norm"), weight("attn.k_norm"), weight("attn.out_proj")!,
            weight("ffn_norm")!, weight("ffn.proj_1")!, weight("ffn.proj_2")!);
    }
}
