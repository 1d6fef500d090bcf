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

    /// <summary>Whether the stream is being recorded and nothing has spoilt the recording.</summary>
    public bool IsRecording
    {
        get
        {
            Check(DriverInterface.StreamIsCapturing(Handle, out int status));
            return status == DriverInterface.CaptureIsActive;
        }
    }

    /// <summary>Ends a recording and throws away what there is of it.</summary>
    public void AbandonRecording()
    {
        if (DriverInterface.StreamEndCapture(Handle, out nint graph) == 0 && graph != 0)
        {
            _ = DriverInterface.GraphDestroy(graph);
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _ = DriverInterface.StreamDestroy(Handle);
}
