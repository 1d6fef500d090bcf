using OpenElm.Checkpoints;

namespace OpenElm.Verification.Conversion;

/// <summary>How far the logits of a converted model may be from those of its source (docs/numerics.md gives the reasons).</summary>
/// <param name="Name">What limits it: the coarsest type that weights were changed to, or <c>unchanged</c>.</param>
/// <param name="RelativeError">The largest mean error: root of the mean square, relative to the spread of the source's logits.</param>
public readonly record struct ConversionAllowance(string Name, double RelativeError)
{
    /// <summary>Weights keep their values: at most the order of sums differs.</summary>
    public static ConversionAllowance Unchanged { get; } = new("unchanged", 1e-5);

    /// <summary>The allowance of a conversion.</summary>
    /// <param name="source">The source.</param>
    /// <param name="result">What was written.</param>
    /// <returns>That of the coarsest type which a weight was changed to or from: the runtime rounds what it multiplies with a coarse type.</returns>
    public static ConversionAllowance Of(Checkpoint source, ModelContent result)
    {
        ArgumentNullException.ThrowIfNull(source);
        ArgumentNullException.ThrowIfNull(result);
        return result.Weights.SelectMany(weight => source.Weights[weight.Name].Parts
                .Where(part => part.DType != weight.DType)
                .SelectMany(part => new[] { Of(weight.DType), Running(part.DType) }))
            .Append(Unchanged)
            .MaxBy(allowance => allowance.RelativeError);
    }

    /// <summary>The allowance of a type that finer weights are rounded to.</summary>
    /// <param name="dtype">The type.</param>
    /// <returns>The allowance.</returns>
    public static ConversionAllowance Of(DType dtype) => dtype switch
    {
        DType.F32 or DType.F64 => Unchanged,
        DType.F16 or DType.BF16 => new(dtype.ToString(), 6e-2),
        DType.Q8_0 or DType.Affine8x32 or DType.Affine8x64 => new(dtype.ToString(), 0.15),
        DType.Q6_K => new(dtype.ToString(), 0.3),
        DType.Q5_0 or DType.Q5_1 or DType.Q5_K => new(dtype.ToString(), 0.6),
        _ => new(dtype.ToString(), 1), // of two unrelated models: 1.4
    };

    // Products with blocks take activations of 8 bits, those with bfloat16 activations of bfloat16.
    static ConversionAllowance Running(DType dtype) => Of(dtype.IsBlocked() ? DType.Q8_0 : dtype) with { Name = $"run as {dtype}" };
}
