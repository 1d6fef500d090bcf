using System.Collections.Immutable;
using OpenElm.Configuration;

namespace OpenElm.Inference;

/// <summary>
/// Keys (normalised and rotated) and values of one sequence, allocated once. Each KV head of a layer has its own block
/// [capacity, headDim], so attention reads it in one run.
/// </summary>
internal sealed class KvCache : IDisposable
{
    readonly int _headDim;
    readonly ImmutableArray<LayerShape> _layers;
    readonly NativeFloats _floats;
    readonly ImmutableArray<long> _layerStart;

    /// <summary>Allocates room for a sequence.</summary>
    /// <param name="config">The architecture.</param>
    /// <param name="capacity">The longest sequence.</param>
    public KvCache(OpenElmConfig config, int capacity)
    {
        (_headDim, _layers, Capacity) = (config.HeadDim, config.Layers, capacity);
        var starts = ImmutableArray.CreateBuilder<long>(config.Layers.Length);
        long total = 0;
        foreach (LayerShape layer in config.Layers)
        {
            starts.Add(total);
            total = checked(total + (2L * layer.KvHeads * capacity * _headDim));
        }

        _layerStart = starts.MoveToImmutable();
        _floats = new NativeFloats(total);
    }

    /// <summary>The longest sequence.</summary>
    public int Capacity { get; }

    /// <summary>Keys of one KV head, positions 0 up to <paramref name="positions"/>.</summary>
    /// <param name="layer">The layer.</param>
    /// <param name="head">The KV head.</param>
    /// <param name="positions">How many positions.</param>
    /// <returns>[positions, headDim].</returns>
    public Span<float> Keys(int layer, int head, int positions) => Block(layer, 2 * head, positions);

    /// <summary>Values of one KV head, positions 0 up to <paramref name="positions"/>.</summary>
    /// <param name="layer">The layer.</param>
    /// <param name="head">The KV head.</param>
    /// <param name="positions">How many positions.</param>
    /// <returns>[positions, headDim].</returns>
    public Span<float> Values(int layer, int head, int positions) => Block(layer, (2 * head) + 1, positions);

    /// <summary>Copies positions of another cache of the same model.</summary>
    /// <param name="other">The cache to copy; its capacity may differ.</param>
    /// <param name="from">The first position.</param>
    /// <param name="to">The position behind the last.</param>
    public void CopyFrom(KvCache other, int from, int to)
    {
        for (int layer = 0; layer < _layers.Length; layer++)
        {
            for (int block = 0; block < 2 * _layers[layer].KvHeads; block++)
            {
                other.Block(layer, block, to)[(from * _headDim)..].CopyTo(Block(layer, block, to)[(from * _headDim)..]);
            }
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _floats.Dispose();

    Span<float> Block(int layer, int block, int positions) =>
        _floats.Slice(_layerStart[layer] + ((long)block * Capacity * _headDim), positions * _headDim);
}
