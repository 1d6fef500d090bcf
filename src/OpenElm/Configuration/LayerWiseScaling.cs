using System.Collections.Immutable;

namespace OpenElm.Configuration;

/// <summary>Layer-wise scaling (paper section 2.1) with the rounding of CoreNet's <c>general_gpt.py</c>.</summary>
public static class LayerWiseScaling
{
    /// <summary>
    /// Rounds to a multiple of <paramref name="divisor"/>, half up, never below the divisor and never down by more than
    /// ten per cent: that last rule decides the head counts of five layers of the released family.
    /// </summary>
    /// <param name="value">The width before rounding.</param>
    /// <param name="divisor">The result is a multiple of this.</param>
    /// <returns>The rounded width.</returns>
    public static int MakeDivisible(double value, int divisor)
    {
        int rounded = Math.Max(divisor, (int)(value + (divisor / 2.0)) / divisor * divisor);
        return rounded < 0.9 * value ? rounded + divisor : rounded;
    }

    /// <summary>Computes the widths of all layers; explicit head lists win over α.</summary>
    /// <param name="config">The architecture.</param>
    /// <returns>One shape for each layer.</returns>
    /// <exception cref="OpenElmException">Lists of the wrong length, or heads that do not divide.</exception>
    internal static ImmutableArray<LayerShape> ComputeLayers(OpenElmConfig config)
    {
        int layers = config.NumTransformerLayers;
        ImmutableArray<int> queryHeads = Explicit("num_query_heads", config.NumQueryHeads, layers) ?? DeriveQueryHeads(config);
        ImmutableArray<int> kvHeads = Explicit("num_kv_heads", config.NumKvHeads, layers)
            ?? [.. queryHeads.Select(heads => heads / config.QueryHeadsPerKvHead)];
        ImmutableArray<double> ffn = config.FfnMultipliers.ForLayers(layers);

        var shapes = ImmutableArray.CreateBuilder<LayerShape>(layers);
        for (int i = 0; i < layers; i++)
        {
            if (queryHeads[i] < 1 || kvHeads[i] < 1 || queryHeads[i] % kvHeads[i] != 0)
            {
                throw new OpenElmException($"Layer {i} has {queryHeads[i]} query heads and {kvHeads[i]} KV heads; the first must be a multiple of the second.");
            }

            shapes.Add(new LayerShape(queryHeads[i], kvHeads[i], MakeDivisible(ffn[i] * config.ModelDim, config.FfnDimDivisor)));
        }

        return shapes.MoveToImmutable();
    }

    /// <summary>Query heads from α: the query width is a multiple of head size × query heads a KV head.</summary>
    /// <param name="config">The architecture; explicit lists are ignored.</param>
    /// <returns>[layers] query heads.</returns>
    internal static ImmutableArray<int> DeriveQueryHeads(OpenElmConfig config) =>
        [.. config.QkvMultipliers.ForLayers(config.NumTransformerLayers).Select(alpha =>
            MakeDivisible(alpha * config.ModelDim, config.HeadDim * config.QueryHeadsPerKvHead) / config.HeadDim)];

    static ImmutableArray<int>? Explicit(string key, ImmutableArray<int>? heads, int layers) =>
        heads is not { } list || list.Length == layers
            ? heads
            : throw new OpenElmException($"{key} lists {list.Length} layers; the model has {layers}.");
}
