using OpenElm.Configuration;
using OpenElm.Cuda;

namespace OpenElm.Inference.Cuda;

/// <summary>
/// Keys and values of one sequence on the device: [KV heads of all layers][keys, values][capacity][headDim]. Of 8 bits, each of these planes ends with
/// a float for every position, what its numbers are multiplied with.
/// </summary>
internal sealed class DeviceCache : SequenceCache
{
    readonly CudaBackend _backend;
    readonly DeviceMemory _memory;
    readonly long _positionBytes, _planeBytes;
    readonly int _planes;
    readonly bool _hasFactors;
    bool _isDisposed;

    /// <param name="backend">Whose work it belongs to.</param>
    /// <param name="config">The architecture.</param>
    /// <param name="capacity">The longest sequence.</param>
    /// <param name="type">Of a number.</param>
    public DeviceCache(CudaBackend backend, OpenElmConfig config, int capacity, KvCacheType type)
    {
        (_backend, Capacity, _hasFactors) = (backend, capacity, type == KvCacheType.I8);
        (_planes, _planeBytes, _positionBytes) = Planes(config, capacity, type);
        _memory = backend.TakeMemory(checked(_planes * _planeBytes));
    }

    /// <inheritdoc/>
    public override int Capacity { get; }

    public nint Address => _memory.Address;

    /// <summary>The size of a cache.</summary>
    /// <param name="config">The architecture.</param>
    /// <param name="capacity">The longest sequence.</param>
    /// <param name="type">Of a number.</param>
    /// <returns>Planes, bytes of each, and of a position there.</returns>
    public static (int Count, long Bytes, long PositionBytes) Planes(OpenElmConfig config, int capacity, KvCacheType type)
    {
        long position = config.HeadDim * (type switch { KvCacheType.F32 => 4, KvCacheType.BF16 => 2, _ => 1 });
        return (2 * config.Layers.Sum(layer => layer.KvHeads), (capacity * position) + (type == KvCacheType.I8 ? (capacity + 3) / 4 * 4 * sizeof(float) : 0), position); // as pass.cu has it
    }

    /// <inheritdoc/>
    public override void CopyFrom(SequenceCache source, int first, int end)
    {
        if (end == first)
        {
            return;
        }

        var other = (DeviceCache)source;
        Copy(first * _positionBytes, first * _positionBytes, (end - first) * _positionBytes);
        if (_hasFactors)
        {
            Copy((other.Capacity * _positionBytes) + (first * sizeof(float)), (Capacity * _positionBytes) + (first * sizeof(float)), (end - first) * sizeof(float));
        }

        void Copy(long from, long to, long bytes) => _backend.CopyPlanes(other.Address + (nint)from, other._planeBytes, Address + (nint)to, _planeBytes, bytes, _planes);
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
