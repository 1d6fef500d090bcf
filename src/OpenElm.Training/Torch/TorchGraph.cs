using System.Runtime.InteropServices;
using OpenElm.Cuda;

namespace OpenElm.Training.Torch;

/// <summary>
/// Launches of libtorch and of ours that were recorded once and are sent together. libtorch's own class <c>at::cuda::CUDAGraph</c> records them, because
/// only that keeps the memory which its operators took while they were recorded.
/// </summary>
/// <remarks>
/// The class has no plain-C interface: its exported C++ functions are called by their mangled names, which hold the types of all arguments, so that another
/// signature is not found instead of misread. A failure inside them would end the process; what can fail is therefore asked before.
/// </remarks>
internal sealed unsafe class TorchGraph : IDisposable
{
    const nuint ObjectBytes = 8192; // the object has a few hundred
    const int Relaxed = 2;          // cudaStreamCaptureModeRelaxed: libraries may allocate while they are recorded

    const string Construct = "_ZN2at4cuda9CUDAGraphC1Eb", Destruct = "_ZN2at4cuda9CUDAGraphD1Ev", Begin = "_ZN2at4cuda9CUDAGraph13capture_beginESt4pairIyyE21cudaStreamCaptureMode",
        End = "_ZN2at4cuda9CUDAGraph11capture_endEv", Replay_ = "_ZN2at4cuda9CUDAGraph6replayEv", Pool = "_ZN2at4cuda9CUDAGraph4poolEv",
        CreateGuard = "aoti_torch_create_cuda_stream_guard", DeleteGuard = "aoti_torch_delete_cuda_stream_guard";

    static readonly string[] Names = [Construct, Destruct, Begin, End, Replay_, Pool, CreateGuard, DeleteGuard];

    readonly CudaStream _stream;
    nint _graph; // 0 once it is destroyed

    [StructLayout(LayoutKind.Sequential)]
    readonly record struct PoolId(ulong First, ulong Second);

    TorchGraph(CudaStream stream) => (_stream, _graph) = (stream, (nint)NativeMemory.AlignedAlloc(ObjectBytes, 64));

    /// <summary>Why nothing can be recorded with the loaded libtorch.</summary>
    /// <returns>The reason in half a sentence; null if it can.</returns>
    public static string? Refusal() =>
        !OperatingSystem.IsLinux() ? "libtorch's recorder is known on Linux only"
        : TorchLibrary.CudaHandle is var library && library == 0 ? "this libtorch has no CUDA"
        : Names.FirstOrDefault(name => !NativeLibrary.TryGetExport(library, name, out _)) is { } missing ? $"this libtorch has no {missing}"
        : null;

    /// <summary>Records what an action puts into a stream, which is also libtorch's current one meanwhile. Nothing runs.</summary>
    /// <param name="device">The GPU's number.</param>
    /// <param name="stream">The stream, which must outlive the recording.</param>
    /// <param name="shared">An earlier recording of the same stream that is never replayed at the same time, whose memory serves this one too; null takes memory of its own.</param>
    /// <param name="record">Makes the launches on this thread, and waits for nothing.</param>
    /// <returns>The recording.</returns>
    /// <exception cref="CudaException">Something cannot be recorded.</exception>
    public static TorchGraph Record(int device, CudaStream stream, TorchGraph? shared, Action record)
    {
        var graph = new TorchGraph(stream);
        int made = ((delegate* unmanaged<nint, int, out nint, int>)Export(CreateGuard))(stream.Handle, device, out nint guard);
        if (made != 0)
        {
            throw new CudaException("libtorch does not take a stream of ours");
        }

        try
        {
            ((delegate* unmanaged<nint, byte, void>)Export(Construct))(graph._graph, 0);
            PoolId pool = shared is null ? default : ((delegate* unmanaged<nint, PoolId>)Export(Pool))(shared._graph);
            ((delegate* unmanaged<nint, ulong, ulong, int, void>)Export(Begin))(graph._graph, pool.First, pool.Second, Relaxed);
            graph.Fill(record);
            return graph;
        }
        finally
        {
            _ = ((delegate* unmanaged<nint, int>)Export(DeleteGuard))(guard);
        }
    }

    /// <summary>Sends the launches into libtorch's current stream, which is the default one.</summary>
    public void Replay() => ((delegate* unmanaged<nint, void>)Export(Replay_))(_graph);

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_graph != 0)
        {
            ((delegate* unmanaged<nint, void>)Export(Destruct))(_graph);
            NativeMemory.AlignedFree((void*)_graph);
            _graph = 0;
        }
    }

    void Fill(Action record)
    {
        try
        {
            record();
        }
        catch
        {
            Finish();
            Dispose();
            throw;
        }

        if (!Finish())
        {
            throw new CudaException("a step of the update cannot be recorded");
        }
    }

    // libtorch's end of a recording throws if a step has spoilt it, so the driver is asked. A spoilt object is left alone: to destroy it is not safe.
    bool Finish()
    {
        if (_stream.IsRecording)
        {
            ((delegate* unmanaged<nint, void>)Export(End))(_graph);
            return true;
        }

        _stream.AbandonRecording();
        _graph = 0;
        return false;
    }

    static nint Export(string name) => NativeLibrary.GetExport(TorchLibrary.CudaHandle, name);
}
