namespace OpenElm.Configuration;

/// <summary>Exact parameter counts (a tied head counts once), from shapes alone.</summary>
/// <param name="Embedding">Rows of the embedding × model width.</param>
/// <param name="Head">The output head when it is not tied, else 0.</param>
/// <param name="Attention">Fused QKV and output projections.</param>
/// <param name="FeedForward">Both products of the feed-forward network.</param>
/// <param name="Norm">All RMSNorm weights.</param>
public readonly record struct ParameterCount(long Embedding, long Head, long Attention, long FeedForward, long Norm)
{
    /// <summary>All parameters.</summary>
    public long Total => Embedding + Head + NonEmbedding;

    /// <summary>Layers and final norm.</summary>
    public long NonEmbedding => Attention + FeedForward + Norm;

    /// <summary>Counts the parameters of a model.</summary>
    /// <param name="config">The architecture.</param>
    /// <returns>The counts.</returns>
    public static ParameterCount Of(OpenElmConfig config)
    {
        long Sum(Func<string, bool> where) => TensorShapes.Of(config).Where(t => where(t.Name)).Sum(t => t.Elements);

        return new ParameterCount(
            Embedding: Sum(name => name == TensorNames.Embedding),
            Head: Sum(name => name == TensorNames.Classifier),
            Attention: Sum(name => name.EndsWith("_proj.weight", StringComparison.Ordinal)),
            FeedForward: Sum(name => name.Contains(".ffn.", StringComparison.Ordinal)),
            Norm: Sum(name => name.EndsWith("norm.weight", StringComparison.Ordinal)));
    }

    /// <summary>Elements that one token adds to the KV cache: keys and values of every layer.</summary>
    /// <param name="config">The architecture.</param>
    /// <returns>2 · Σ KV heads · head size.</returns>
    public static long KvCacheElementsPerToken(OpenElmConfig config) => 2L * config.HeadDim * config.Layers.Sum(layer => (long)layer.KvHeads);
}
