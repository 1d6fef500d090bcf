using static OpenElm.Cuda.CudaDevice;

namespace OpenElm.Cuda;

/// <summary>A second stream beside a main one, for work that neither waits for nor holds up what the main stream does meanwhile.</summary>
public sealed class SideStream : IDisposable
{
    const uint NonBlocking = 1; // the default stream does not wait for it by itself

    readonly nint _main;
    readonly CudaEvent _forked = new(), _joined = new();

    /// <summary>Creates the stream.</summary>
    /// <param name="main">The main stream.</param>
    public SideStream(nint main)
    {
        _main = main;
        Check(DriverInterface.StreamCreate(out nint handle, NonBlocking));
        Handle = handle;
    }

    /// <summary>The driver's handle.</summary>
    public nint Handle { get; }

    /// <summary>What is put into this stream from now on sees all that the main stream holds.</summary>
    public void Fork()
    {
        _forked.Record(_main);
        _forked.HoldBack(Handle);
    }

    /// <summary>What is put into the main stream from now on sees all that this stream holds.</summary>
    public void Join()
    {
        _joined.Record(Handle);
        _joined.HoldBack(_main);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _forked.Dispose();
        _joined.Dispose();
        _ = DriverInterface.StreamDestroy(Handle);
    }
}
