using static OpenElm.Cuda.CudaDevice;

namespace OpenElm.Cuda;

/// <summary>Launches that were recorded once and are sent together: one call of the driver for all of them.</summary>
public sealed class CudaGraph : IDisposable
{
    readonly nint _executable;

    /// <summary>Records what an action puts into a stream; nothing runs.</summary>
    /// <param name="stream">The stream.</param>
    /// <param name="record">Puts launches and copies into the stream; allocates and waits for nothing.</param>
    public CudaGraph(CudaStream stream, Action record)
    {
        ArgumentNullException.ThrowIfNull(stream);
        ArgumentNullException.ThrowIfNull(record);
        Check(DriverInterface.StreamBeginCapture(stream.Handle, DriverInterface.CaptureOfThisThread));
        nint graph;
        try
        {
            record();
        }
        finally
        {
            _ = DriverInterface.StreamEndCapture(stream.Handle, out graph);
        }

        Check(DriverInterface.GraphInstantiate(out _executable, graph, 0));
        _ = DriverInterface.GraphDestroy(graph);
    }

    /// <summary>Sends the launches.</summary>
    /// <param name="stream">The stream.</param>
    public void Launch(CudaStream stream)
    {
        ArgumentNullException.ThrowIfNull(stream);
        Check(DriverInterface.GraphLaunch(_executable, stream.Handle));
    }

    /// <inheritdoc/>
    public void Dispose() => _ = DriverInterface.GraphExecutableDestroy(_executable);
}
