using static OpenElm.Cuda.CudaDevice;

namespace OpenElm.Cuda;

/// <summary>Memory of the device with one owner.</summary>
public sealed class DeviceMemory : IDisposable
{
    /// <summary>Allocates memory; its contents are whatever was there.</summary>
    /// <param name="bytes">How much; at least one byte is taken.</param>
    /// <exception cref="CudaException">The device has not so much left.</exception>
    public DeviceMemory(long bytes)
    {
        int result = DriverInterface.MemoryAllocate(out nint address, (nuint)Math.Max(bytes, 1));
        Check(result, $"allocating {bytes} bytes");
        (Address, Bytes) = (address, bytes);
    }

    /// <summary>The first byte; a multiple of 256.</summary>
    public nint Address { get; private set; }

    /// <summary>How much it is.</summary>
    public long Bytes { get; }

    /// <summary>Copies numbers from the device and waits for them.</summary>
    /// <typeparam name="T">Their type.</typeparam>
    /// <param name="source">Where they are.</param>
    /// <param name="target">Where to.</param>
    /// <param name="stream">The stream, whose earlier work is done on return.</param>
    public static unsafe void CopyBack<T>(nint source, Span<T> target, nint stream)
        where T : unmanaged
    {
        fixed (T* first = target)
        {
            CopyBackLater(source, target, stream);
            Synchronize(stream);
        }
    }

    /// <summary>Copies numbers from the device; they are there when the stream is done.</summary>
    /// <typeparam name="T">Their type.</typeparam>
    /// <param name="source">Where they are.</param>
    /// <param name="target">Memory that stays where it is until then, such as a part of <see cref="MappedMemory{T}.Values"/>.</param>
    /// <param name="stream">The stream.</param>
    public static unsafe void CopyBackLater<T>(nint source, Span<T> target, nint stream)
        where T : unmanaged
    {
        fixed (T* first = target)
        {
            Check(DriverInterface.CopyToHost(first, source, (nuint)((long)target.Length * sizeof(T)), stream));
        }
    }

    /// <summary>Copies bytes within the device.</summary>
    /// <param name="source">Where they are.</param>
    /// <param name="target">Where to.</param>
    /// <param name="bytes">How many.</param>
    /// <param name="stream">The stream.</param>
    public static void Copy(nint source, nint target, long bytes, nint stream) => Check(DriverInterface.CopyOnDevice(target, source, (nuint)bytes, stream));

    /// <inheritdoc/>
    public void Dispose()
    {
        if (Address != 0)
        {
            _ = DriverInterface.MemoryFree(Address);
            Address = 0;
        }
    }
}
