using static OpenElm.Cuda.CudaDevice;

namespace OpenElm.Cuda;

/// <summary>Page-locked memory of the host that kernels write to at its own address.</summary>
/// <typeparam name="T">Of its elements.</typeparam>
public sealed unsafe class MappedMemory<T> : IDisposable
    where T : unmanaged
{
    readonly int _count;
    void* _memory;

    /// <summary>Allocates zeros.</summary>
    /// <param name="count">Elements.</param>
    public MappedMemory(int count)
    {
        _count = count;
        Check(DriverInterface.HostAllocate(out _memory, (nuint)((long)count * sizeof(T)), DriverInterface.HostMapped));
        Values.Clear();
    }

    /// <summary>The first byte, for kernels.</summary>
    public nint Address => (nint)_memory;

    /// <summary>The elements; what kernels have written is there when they are known to be done.</summary>
    public Span<T> Values => new(_memory, _count);

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_memory is not null)
        {
            _ = DriverInterface.HostFree(_memory);
            _memory = null;
        }
    }
}
