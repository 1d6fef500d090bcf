using static OpenElm.Cuda.CudaDevice;

namespace OpenElm.Cuda;

/// <summary>A mark in a stream: times the work between two of them.</summary>
public sealed class CudaEvent : IDisposable
{
    readonly nint _handle;

    /// <summary>Creates a mark that is in no stream yet.</summary>
    public CudaEvent() => Check(DriverInterface.EventCreate(out _handle, 0));

    /// <summary>Puts the mark behind what the stream holds.</summary>
    /// <param name="stream">The stream.</param>
    public void Record(nint stream) => Check(DriverInterface.EventRecord(_handle, stream));

    /// <summary>Has a stream wait for the mark before it goes on with what is put into it from now on; the host does not wait.</summary>
    /// <param name="stream">The stream.</param>
    public void HoldBack(nint stream) => Check(DriverInterface.StreamWaitEvent(stream, _handle, 0));

    /// <summary>Waits on the host until the mark is reached.</summary>
    public void Synchronize() => Check(DriverInterface.EventSynchronize(_handle));

    /// <summary>The device's time between two marks that are reached.</summary>
    /// <param name="start">The earlier mark.</param>
    /// <returns>Milliseconds, to about half a microsecond.</returns>
    public float MillisecondsSince(CudaEvent start)
    {
        ArgumentNullException.ThrowIfNull(start);
        Check(DriverInterface.EventElapsedTime(out float milliseconds, start._handle, _handle));
        return milliseconds;
    }

    /// <inheritdoc/>
    public void Dispose() => _ = DriverInterface.EventDestroy(_handle);
}
