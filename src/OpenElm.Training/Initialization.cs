using OpenElm.Configuration;
using TorchSharp;
using static TorchSharp.torch;

namespace OpenElm.Training;

/// <summary>Section 1.8 of the reference: normal weights of mean 0, norms of 1.</summary>
internal static class Initialization
{
    /// <summary>Draws every weight from one generator on the CPU, so that the device does not change the weights.</summary>
    /// <param name="module">The model.</param>
    /// <param name="seed">The seed.</param>
    public static void Draw(OpenElmModule module, long seed)
    {
        using var noGrad = no_grad();
        using var generator = new Generator((ulong)seed);
        foreach ((string name, TorchSharp.Modules.Parameter weight) in module.Weights)
        {
            using DisposeScope scope = NewDisposeScope();
            Tensor drawn = StandardDeviation(name, module.Config) is { } std
                ? empty(weight.shape, ScalarType.Float32).normal_(0, std, generator)
                : ones(weight.shape, ScalarType.Float32);
            weight.copy_(drawn);
        }
    }

    /// <summary>The standard deviation of a weight's elements; null for norms, which start at 1.</summary>
    /// <param name="name">Canonical name.</param>
    /// <param name="config">The architecture.</param>
    public static double? StandardDeviation(string name, OpenElmConfig config)
    {
        double input = Math.Pow(config.ModelDim, -0.5);
        return name.EndsWith("norm.weight", StringComparison.Ordinal) ? null
            // The writers to the residual stream; their width in does not matter, as in the reference.
            : name.EndsWith("out_proj.weight", StringComparison.Ordinal) || name.EndsWith("ffn.proj_2.weight", StringComparison.Ordinal)
                ? input * Math.Pow(2 * config.NumTransformerLayers, -0.5)
                : input;
    }
}
