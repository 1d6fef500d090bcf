namespace OpenElm.Inference;

/// <summary>How keys and values of past positions are kept.</summary>
public enum KvCacheType
{
    /// <summary>float32: nothing is rounded.</summary>
    F32,

    /// <summary>bfloat16: half the memory.</summary>
    BF16,

    /// <summary>8 bits and one scale for each head of a position: a quarter of the memory.</summary>
    I8,
}
