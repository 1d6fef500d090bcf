using OpenElm.Checkpoints;
using OpenElm.Checkpoints.Mlx;
using OpenElm.Configuration;

namespace OpenElm.Quantization;

/// <summary>One weight of a quantised model.</summary>
/// <param name="Weight">Name and shape.</param>
/// <param name="Source">The type it had (the first part's, where they differ).</param>
/// <param name="Format">The type it gets, and why, if that is not the recipe's own.</param>
/// <param name="HasImportance">Whether its columns' importance was known.</param>
public sealed record QuantizedTensor(TensorShape Weight, DType Source, TensorFormat Format, bool HasImportance)
{
    /// <summary>Bytes in the file. MLX stores scale and bias of a group in 16 bits each; the content carries them as floats.</summary>
    public long StoredBytes => Format.DType.ByteCount(Weight.Shape) - (Format.DType.IsAffine() ? Weight.Elements / Format.DType.BlockElements() * 4 : 0);
}
