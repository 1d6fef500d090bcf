using OpenElm.Checkpoints;

namespace OpenElm.Quantization;

/// <summary>The type that a recipe stores a weight in.</summary>
/// <param name="DType">The type.</param>
/// <param name="Note">Why it is not the recipe's own, for example because rows are no whole blocks; null if it is.</param>
public readonly record struct TensorFormat(DType DType, string? Note = null)
{
    /// <summary>
    /// What fits in place of a format whose blocks do not: the K formats' neighbours with blocks of 32, as llama.cpp takes them; else a plain type.
    /// </summary>
    /// <param name="wanted">The type that is asked for.</param>
    /// <param name="columns">Elements of a row.</param>
    /// <param name="plain">The plain type for rows that are no whole blocks.</param>
    /// <returns>The type, and why it is another.</returns>
    public static TensorFormat Fitting(DType wanted, long columns, DType plain = DType.BF16)
    {
        if (columns % wanted.BlockElements() == 0)
        {
            return new TensorFormat(wanted);
        }

        DType smaller = wanted switch
        {
            DType.Q4_K => DType.Q5_0,
            DType.Q5_K => DType.Q5_1,
            DType.Q6_K => DType.Q8_0,
            _ => plain,
        };
        DType chosen = columns % smaller.BlockElements() == 0 ? smaller : plain;
        return new TensorFormat(chosen, $"rows of {columns} are no multiples of {wanted}'s {wanted.BlockElements()}: {chosen} instead");
    }
}
