using System.Runtime.InteropServices;

namespace OpenElm.Cuda;

/// <content>Memory of one's own, copies back, recorded launches, and kernels whose blocks wait for each other.</content>
internal static unsafe partial class DriverInterface
{
    public const int CaptureOfThisThread = 1; // CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
    public const int HostMapped = 2;          // CU_MEMHOSTALLOC_DEVICEMAP

    [LibraryImport(Library, EntryPoint = "cuMemAlloc_v2")]
    public static partial int MemoryAllocate(out nint address, nuint bytes);

    [LibraryImport(Library, EntryPoint = "cuMemFree_v2")]
    public static partial int MemoryFree(nint address);

    [LibraryImport(Library, EntryPoint = "cuMemcpyDtoHAsync_v2")]
    public static partial int CopyToHost(void* target, nint source, nuint bytes, nint stream);

    [LibraryImport(Library, EntryPoint = "cuMemcpyDtoDAsync_v2")]
    public static partial int CopyOnDevice(nint target, nint source, nuint bytes, nint stream);

    [LibraryImport(Library, EntryPoint = "cuStreamDestroy_v2")]
    public static partial int StreamDestroy(nint stream);

    [LibraryImport(Library, EntryPoint = "cuStreamBeginCapture_v2")]
    public static partial int StreamBeginCapture(nint stream, int mode);

    [LibraryImport(Library, EntryPoint = "cuStreamEndCapture")]
    public static partial int StreamEndCapture(nint stream, out nint graph);

    [LibraryImport(Library, EntryPoint = "cuGraphInstantiateWithFlags")]
    public static partial int GraphInstantiate(out nint executable, nint graph, ulong flags);

    [LibraryImport(Library, EntryPoint = "cuGraphDestroy")]
    public static partial int GraphDestroy(nint graph);

    [LibraryImport(Library, EntryPoint = "cuGraphLaunch")]
    public static partial int GraphLaunch(nint executable, nint stream);

    [LibraryImport(Library, EntryPoint = "cuGraphExecDestroy")]
    public static partial int GraphExecutableDestroy(nint executable);

    /// <summary><c>CUlaunchAttribute</c>, of which the first three numbers of the value are used here.</summary>
    [StructLayout(LayoutKind.Sequential, Size = 72)]
    public readonly record struct LaunchAttribute(int Id, int Padding, uint X, uint Y, uint Z)
    {
        /// <summary>All blocks are on the device at once.</summary>
        public static LaunchAttribute Together => new(2, 0, 1, 0, 0);

        /// <summary>Blocks next to each other that are on one part of the device.</summary>
        public static LaunchAttribute Clusters(int blocks) => new(4, 0, (uint)blocks, 1, 1);
    }

    /// <summary><c>CUlaunchConfig</c>.</summary>
    public readonly record struct LaunchConfig(
        uint GridX, uint GridY, uint GridZ, uint BlockX, uint BlockY, uint BlockZ, uint SharedBytes, nint Stream, nint Attributes, uint AttributeCount);

    [LibraryImport(Library, EntryPoint = "cuLaunchKernelEx")]
    public static partial int LaunchKernel(in LaunchConfig config, nint function, void** arguments, void** extra);

    [LibraryImport(Library, EntryPoint = "cuOccupancyMaxActiveClusters")]
    public static partial int MostClusters(out int clusters, nint function, in LaunchConfig config);
}
