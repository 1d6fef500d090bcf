using OpenElm.Checkpoints;

namespace OpenElm.Quantization;

/// <summary>The type that a recipe stores a weight in.</summary>
/// <param name="DType">The type.</param>
/// <param name="Note">Why it is not the recipe's own, for example because rows are no whole blocks; null if it is.</param>
public readonly record struct TensorFormat(DType DType, string? Note = null);
