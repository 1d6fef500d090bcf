namespace OpenElm.Configuration;

/// <summary>The widths of one decoder layer. Layer-wise scaling (paper section 2.1) gives every layer its own.</summary>
/// <param name="QueryHeads">Query heads.</param>
/// <param name="KvHeads">Key heads, and as many value heads; query head j reads KV head j / (QueryHeads / KvHeads).</param>
/// <param name="FfnDim">Width of the feed-forward network between its two products.</param>
public readonly record struct LayerShape(int QueryHeads, int KvHeads, int FfnDim)
{
    /// <summary>How many query heads share one KV head: 1 is multi-head attention.</summary>
    public int QueryHeadsPerKvHead => QueryHeads / KvHeads;
}
