using OpenElm.Configuration;
using static TorchSharp.torch;

namespace OpenElm.Training.Gpu;

/// <summary>What the backward pass of a layer reads besides the layer's input. Every layer has its own, or with whole-layer checkpoints all share one set, which the backward pass fills anew.</summary>
internal sealed class GpuActivations : IDisposable
{
    /// <param name="config">The architecture.</param>
    /// <param name="shapes">The layers that use it, at different times.</param>
    /// <param name="tokens">Tokens of a batch.</param>
    /// <param name="types">Number formats.</param>
    /// <param name="device">The GPU.</param>
    public GpuActivations(OpenElmConfig config, IReadOnlyCollection<LayerShape> shapes, int tokens, GpuTypes types, Device device)
    {
        DeviceBuffer Empty(ScalarType type, Func<LayerShape, long> width) => DeviceBuffer.Empty(device, type, tokens, shapes.Max(width));

        FfnInput = Empty(types.Residual, _ => config.ModelDim);
        Heads = Empty(types.Product, shape => (shape.QueryHeads + (2 * shape.KvHeads)) * (long)config.HeadDim);
        Rotated = Empty(types.Product, shape => (shape.QueryHeads + shape.KvHeads) * (long)config.HeadDim);
        GateUp = Empty(types.Product, shape => 2L * shape.FfnDim);
    }

    /// <summary>[tokens, modelDim]: the residual stream before the feed-forward network.</summary>
    public DeviceBuffer FfnInput { get; }

    /// <summary>[tokens, queryHeads + 2 · kvHeads, headDim]: the product, then its gradient.</summary>
    public DeviceBuffer Heads { get; }

    /// <summary>[tokens, queryHeads + kvHeads, headDim]: queries and keys after norm and RoPE.</summary>
    public DeviceBuffer Rotated { get; }

    /// <summary>[tokens, 2 · ffnDim]: gates and ups, then their gradient.</summary>
    public DeviceBuffer GateUp { get; }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (DeviceBuffer buffer in new[] { FfnInput, Heads, Rotated, GateUp })
        {
            buffer.Dispose();
        }
    }
}
