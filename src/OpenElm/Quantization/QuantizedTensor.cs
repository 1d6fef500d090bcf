using OpenElm.Checkpoints;
using OpenElm.Configuration;

namespace OpenElm.Quantization;

/// <summary>One weight of a quantised model.</summary>
/// <param name="Weight">Name and shape.</param>
/// <param name="Source">The type it had (the first part's, where they differ).</param>
/// <param name="Format">The type it gets, and why, if that is not the recipe's own.</param>
/// <param name="HasImportance">Whether its columns' importance was known.</param>
public sealed record QuantizedTensor(TensorShape Weight, DType Source, TensorFormat Format, bool HasImportance)
{
    /// <summary>Bytes after.</summary>
    public long ByteCount => Format.DType.ByteCount(Weight.Shape);
}
