using OpenElm.Configuration;
using OpenElm.Cuda;

namespace OpenElm.Inference.Cuda;

/// <summary>Keys and values of one sequence on the device: [KV heads of all layers][keys, values][capacity][headDim].</summary>
internal sealed class DeviceCache : SequenceCache
{
    readonly CudaBackend _backend;
    readonly DeviceMemory _memory;
    readonly long _positionBytes;
    readonly int _planes;
    bool _isDisposed;

    /// <param name="backend">Whose work it belongs to.</param>
    /// <param name="config">The architecture.</param>
    /// <param name="capacity">The longest sequence.</param>
    /// <param name="elementBytes">Of a number.</param>
    public DeviceCache(CudaBackend backend, OpenElmConfig config, int capacity, int elementBytes)
    {
        (_backend, Capacity, _positionBytes, _planes) = (backend, capacity, config.HeadDim * elementBytes, 2 * config.Layers.Sum(layer => layer.KvHeads));
        _memory = backend.TakeMemory(checked(_planes * capacity * _positionBytes));
    }

    /// <inheritdoc/>
    public override int Capacity { get; }

    public nint Address => _memory.Address;

    /// <inheritdoc/>
    public override void CopyFrom(SequenceCache source, int first, int end)
    {
        var other = (DeviceCache)source;
        if (end > first)
        {
            _backend.CopyPlanes(
                other.Address + (nint)(first * _positionBytes), other.Capacity * _positionBytes, Address + (nint)(first * _positionBytes), Capacity * _positionBytes,
                (end - first) * _positionBytes, _planes);
        }
    }

    /// <inheritdoc/>
    public override void Dispose()
    {
        if (!_isDisposed)
        {
            _isDisposed = true;
            _backend.GiveBack(_memory);
        }
    }
}
