using System.Collections.Immutable;
using System.Numerics;

namespace OpenElm.Configuration;

/// <summary>Finds the configuration of given layer widths: some formats store the widths (GGUF) or only the tensors (CoreNet), not the multipliers.</summary>
internal static class ConfigFromWidths
{
    /// <summary>Completes a configuration so that its layers get the widths.</summary>
    /// <param name="basis">Everything but layer widths.</param>
    /// <param name="layers">The width of every layer.</param>
    /// <param name="name">The shipped model of these widths, or null.</param>
    /// <returns>The shipped model's multipliers where one fits, else explicit heads and a multiplier for each feed-forward width.</returns>
    /// <exception cref="OpenElmException">The widths are impossible.</exception>
    public static OpenElmConfig Complete(OpenElmConfig basis, ImmutableArray<LayerShape> layers, out string? name)
    {
        foreach (string known in NamedConfigs.Names)
        {
            OpenElmConfig shipped = NamedConfigs.Get(known);
            if (shipped.ModelDim == basis.ModelDim && shipped.HeadDim == basis.HeadDim && shipped.FfnWithGlu == basis.FfnWithGlu && shipped.Layers.SequenceEqual(layers))
            {
                name = known;
                return (basis with
                {
                    NumTransformerLayers = layers.Length,
                    QkvMultipliers = shipped.QkvMultipliers,
                    QueryHeadsPerKvHead = shipped.QueryHeadsPerKvHead,
                    FfnMultipliers = shipped.FfnMultipliers,
                    FfnDimDivisor = shipped.FfnDimDivisor,
                }).Validated();
            }
        }

        name = null;
        return Explicit(basis, layers);
    }

    static OpenElmConfig Explicit(OpenElmConfig basis, ImmutableArray<LayerShape> layers)
    {
        if (layers is [])
        {
            throw new OpenElmException("The model has no layers.");
        }

        for (int i = 0; i < layers.Length; i++)
        {
            (int queryHeads, int kvHeads, int ffnDim) = layers[i];
            if (queryHeads < 1 || kvHeads < 1 || ffnDim < 1 || queryHeads % kvHeads != 0)
            {
                throw new OpenElmException($"Layer {i} has {queryHeads} query heads, {kvHeads} KV heads and a feed-forward width of {ffnDim}; each must be 1 or more, and query heads a multiple of KV heads.");
            }
        }

        ImmutableArray<double> alpha = [.. layers.Select(layer => (double)layer.QueryHeads * basis.HeadDim / basis.ModelDim)];
        ImmutableArray<double> beta = [.. layers.Select(layer => (double)layer.FfnDim / basis.ModelDim)];
        bool isUniform = layers.All(layer => (layer.QueryHeads, layer.KvHeads) == (layers[0].QueryHeads, layers[0].KvHeads));
        OpenElmConfig config = (basis with
        {
            NumTransformerLayers = layers.Length,
            QkvMultipliers = isUniform ? alpha[0] : basis.QkvMultipliers,
            QueryHeadsPerKvHead = layers.Select(layer => layer.QueryHeadsPerKvHead).Distinct().ToArray() is [int one] ? one : 1,
            FfnMultipliers = beta.Distinct().Count() == 1 ? beta[0] : Multipliers.Of(beta),
            FfnDimDivisor = layers.Aggregate(0, (divisor, layer) => (int)BigInteger.GreatestCommonDivisor(divisor, layer.FfnDim)),
            NumQueryHeads = isUniform ? null : [.. layers.Select(layer => layer.QueryHeads)],
            NumKvHeads = isUniform ? null : [.. layers.Select(layer => layer.KvHeads)],
        }).Validated();
        // Two multipliers are a pair that is rounded to two decimals, which not every width survives.
        return config.Layers.SequenceEqual(layers) ? config : throw new OpenElmException($"Feed-forward widths of {layers[0].FfnDim} and {layers[^1].FfnDim} cannot be expressed by multipliers of {basis.ModelDim}.");
    }
}
