using static OpenElm.Cuda.CudaDevice;

namespace OpenElm.Cuda;

/// <summary>Numbers on their way to the GPU: page-locked memory, so that neither side waits for the other, twice, so that one batch can be written while the other is read.</summary>
/// <typeparam name="T">Their type.</typeparam>
public sealed unsafe class PinnedStaging<T> : IDisposable
    where T : unmanaged
{
    readonly void*[] _memory = new void*[2];
    readonly CudaEvent[] _read = [new(), new()];
    readonly int _count;
    int _turn;

    /// <summary>Allocates the memory.</summary>
    /// <param name="count">Numbers of a batch.</param>
    public PinnedStaging(int count)
    {
        _count = count;
        for (int i = 0; i < 2; i++)
        {
            Check(DriverInterface.HostAllocate(out _memory[i], (nuint)((long)count * sizeof(T)), 0));
        }
    }

    /// <summary>The memory to write the next batch to; waits until the batch before the last has left it.</summary>
    /// <returns>All of it.</returns>
    public Span<T> Next()
    {
        _turn ^= 1;
        _read[_turn].Synchronize();
        return new Span<T>(_memory[_turn], _count);
    }

    /// <summary>Sends what <see cref="Next"/> was filled with.</summary>
    /// <param name="target">Where to.</param>
    /// <param name="stream">The stream.</param>
    public void Send(nint target, nint stream)
    {
        Check(DriverInterface.CopyToDevice(target, _memory[_turn], (nuint)((long)_count * sizeof(T)), stream));
        _read[_turn].Record(stream);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        for (int i = 0; i < 2; i++)
        {
            _read[i].Dispose();
            _ = DriverInterface.HostFree(_memory[i]);
        }
    }
}
