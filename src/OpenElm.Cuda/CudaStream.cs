using static OpenElm.Cuda.CudaDevice;

namespace OpenElm.Cuda;

/// <summary>An order of work on the device, beside which other streams go on.</summary>
public sealed class CudaStream : IDisposable
{
    const uint NonBlocking = 1;

    /// <summary>Creates a stream that does not wait for the default one.</summary>
    public CudaStream()
    {
        Check(DriverInterface.StreamCreate(out nint handle, NonBlocking));
        Handle = handle;
    }

    /// <summary>The driver's handle.</summary>
    public nint Handle { get; }

    /// <inheritdoc/>
    public void Dispose() => _ = DriverInterface.StreamDestroy(Handle);
}
