using System.Collections.Immutable;
using static TorchSharp.torch;

namespace OpenElm.Training.Gpu;

/// <summary>
/// The gradients of all weights, one after the other in memory. Between an update and the backward pass of the first layer it reaches, nothing is in
/// those of the layers: logits may stay there, for they are gone by then.
/// </summary>
internal sealed class GpuGradients : IDisposable
{
    const long Alignment = 256;

    readonly DeviceBuffer? _all; // null where the gradients lie elsewhere

    /// <param name="weights">The weights.</param>
    /// <param name="type">Of the gradients.</param>
    /// <param name="device">The GPU.</param>
    public GpuGradients(IReadOnlyList<NamedWeight> weights, ScalarType type, Device device)
    {
        using var scope = NewDisposeScope();
        // The matrices that logits meet come first; what logits may overwrite comes last.
        int[] places = [.. Enumerable.Range(0, weights.Count).OrderBy(i => IsOfLayer(weights[i].Name))];
        long[] offsets = new long[weights.Count];
        long end = 0, layersBegin = 0;
        foreach (int i in places)
        {
            offsets[i] = end;
            end += (weights[i].Value.numel() + Alignment - 1) / Alignment * Alignment;
            layersBegin = IsOfLayer(weights[i].Name) ? layersBegin : end;
        }

        _all = DeviceBuffer.Empty(device, type, end);
        Buffers = [.. weights.Select((weight, i) => new DeviceBuffer(_all.Tensor.narrow(0, offsets[i], weight.Value.numel()).view(weight.Value.shape)))];
        LayersAddress = _all.Address + (nint)(layersBegin * _all.Tensor.element_size());
        LayersBytes = (end - layersBegin) * _all.Tensor.element_size();
    }

    /// <param name="buffers">A gradient for each weight, wherever it lies; taken over.</param>
    public GpuGradients(ImmutableArray<DeviceBuffer> buffers) => Buffers = buffers;

    /// <summary>A gradient for each weight, in their order.</summary>
    public ImmutableArray<DeviceBuffer> Buffers { get; }

    /// <summary>Where the gradients of layers begin.</summary>
    public nint LayersAddress { get; }

    /// <summary>How much they are.</summary>
    public long LayersBytes { get; }

    /// <summary>Whether the logits of a batch lie in the gradients of layers.</summary>
    /// <param name="logitBytes">Bytes of the logits.</param>
    /// <param name="layerGradientBytes">Bytes of those gradients.</param>
    /// <param name="accumulates">Whether gradients stay from one micro-batch to the next.</param>
    public static bool HoldLogits(long logitBytes, long layerGradientBytes, bool accumulates) => !accumulates && logitBytes <= layerGradientBytes;

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (DeviceBuffer buffer in Buffers)
        {
            buffer.Dispose();
        }

        _all?.Dispose();
    }

    static bool IsOfLayer(string name) => name.StartsWith("layers.", StringComparison.Ordinal);
}
