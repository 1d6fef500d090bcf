using System.Collections.Immutable;

namespace OpenElm.Configuration;

/// <summary>The name and shape of one weight.</summary>
/// <param name="Name">CoreNet's name.</param>
/// <param name="Shape">[out, in] for matrices, [width] for norms.</param>
public readonly record struct TensorShape(string Name, ImmutableArray<long> Shape)
{
    /// <summary>The number of elements.</summary>
    public long Elements => Shape.Aggregate(1L, (product, size) => checked(product * size));
}

/// <summary>CoreNet's names of the weights, which are the project's own (section "weight names" of the checkpoint documentation).</summary>
public static class TensorNames
{
    /// <summary>[vocab, modelDim].</summary>
    public const string Embedding = "token_embeddings.weight";

    /// <summary>[modelDim]: the norm before the head.</summary>
    public const string FinalNorm = "norm.weight";

    /// <summary>[vocab, modelDim]: the head of an untied model.</summary>
    public const string Classifier = "classifier.weight";

    /// <summary>A weight of a layer, for example <c>layers.3.attn.qkv_proj.weight</c>.</summary>
    /// <param name="layer">The layer, from 0.</param>
    /// <param name="part">The part, for example <c>attn.qkv_proj</c>.</param>
    /// <returns>The name.</returns>
    public static string Layer(int layer, string part) => $"layers.{layer}.{part}.weight";
}

/// <summary>Every weight of a model, in the order of the forward pass.</summary>
public static class TensorShapes
{
    /// <summary>Lists the weights that a configuration implies, without allocating any.</summary>
    /// <param name="config">The architecture.</param>
    /// <returns>Names and shapes.</returns>
    public static IEnumerable<TensorShape> Of(OpenElmConfig config)
    {
        long d = config.ModelDim, h = config.HeadDim;
        yield return new(TensorNames.Embedding, [config.VocabSize, d]);
        for (int i = 0; i < config.Layers.Length; i++)
        {
            LayerShape layer = config.Layers[i];
            yield return new(TensorNames.Layer(i, "attn_norm"), [d]);
            yield return new(TensorNames.Layer(i, "attn.qkv_proj"), [(layer.QueryHeads + (2 * layer.KvHeads)) * h, d]);
            if (config.NormalizeQkProjections)
            {
                yield return new(TensorNames.Layer(i, "attn.q_norm"), [h]);
                yield return new(TensorNames.Layer(i, "attn.k_norm"), [h]);
            }

            yield return new(TensorNames.Layer(i, "attn.out_proj"), [d, layer.QueryHeads * h]);
            yield return new(TensorNames.Layer(i, "ffn_norm"), [d]);
            yield return new(TensorNames.Layer(i, "ffn.proj_1"), [(config.FfnWithGlu ? 2 : 1) * layer.FfnDim, d]);
            yield return new(TensorNames.Layer(i, "ffn.proj_2"), [d, layer.FfnDim]);
        }

        yield return new(TensorNames.FinalNorm, [d]);
        if (!config.ShareInputOutputLayers)
        {
            yield return new(TensorNames.Classifier, [config.VocabSize, d]);
        }
    }
}
