using System.Runtime.InteropServices;

namespace OpenElm.Cuda;

/// <summary>The functions of the CUDA driver that this project uses. All return 0 on success.</summary>
internal static unsafe partial class DriverInterface
{
    const string Library = CudaLibraries.Driver;

    public const int MultiprocessorCount = 16, ComputeCapabilityMajor = 75, ComputeCapabilityMinor = 76; // CUdevice_attribute
    public const int MaxDynamicSharedSize = 8;                                                          // CUfunction_attribute
    public const int Float64 = 8, BFloat16 = 9, Swizzle128 = 3, Promote128 = 2;                         // CUtensorMapDataType, …Swizzle, …L2promotion

    [LibraryImport(Library, EntryPoint = "cuInit")]
    public static partial int Init(uint flags);

    [LibraryImport(Library, EntryPoint = "cuDeviceGet")]
    public static partial int DeviceGet(out int device, int ordinal);

    [LibraryImport(Library, EntryPoint = "cuDeviceGetName")]
    public static partial int DeviceGetName(byte* name, int length, int device);

    [LibraryImport(Library, EntryPoint = "cuDeviceGetAttribute")]
    public static partial int DeviceGetAttribute(out int value, int attribute, int device);

    [LibraryImport(Library, EntryPoint = "cuDevicePrimaryCtxRetain")]
    public static partial int PrimaryContextRetain(out nint context, int device);

    [LibraryImport(Library, EntryPoint = "cuCtxSetCurrent")]
    public static partial int ContextSetCurrent(nint context);

    [LibraryImport(Library, EntryPoint = "cuMemGetInfo_v2")]
    public static partial int MemoryInfo(out nuint free, out nuint total);

    [LibraryImport(Library, EntryPoint = "cuMemsetD8Async")]
    public static partial int MemorySet(nint pointer, byte value, nuint bytes, nint stream);

    [LibraryImport(Library, EntryPoint = "cuMemHostAlloc")]
    public static partial int HostAllocate(out void* memory, nuint bytes, uint flags);

    [LibraryImport(Library, EntryPoint = "cuMemFreeHost")]
    public static partial int HostFree(void* memory);

    [LibraryImport(Library, EntryPoint = "cuMemcpyHtoDAsync_v2")]
    public static partial int CopyToDevice(nint target, void* source, nuint bytes, nint stream);

    [LibraryImport(Library, EntryPoint = "cuModuleLoadData")]
    public static partial int ModuleLoadData(out nint module, void* image);

    [LibraryImport(Library, EntryPoint = "cuModuleUnload")]
    public static partial int ModuleUnload(nint module);

    [LibraryImport(Library, EntryPoint = "cuModuleGetFunction", StringMarshalling = StringMarshalling.Utf8)]
    public static partial int ModuleGetFunction(out nint function, nint module, string name);

    [LibraryImport(Library, EntryPoint = "cuModuleGetGlobal_v2", StringMarshalling = StringMarshalling.Utf8)]
    public static partial int ModuleGetGlobal(out nint address, out nuint bytes, nint module, string name);

    [LibraryImport(Library, EntryPoint = "cuFuncSetAttribute")]
    public static partial int FunctionSetAttribute(nint function, int attribute, int value);

    [LibraryImport(Library, EntryPoint = "cuTensorMapEncodeTiled")]
    public static partial int TensorMapEncode(
        void* map, int type, uint rank, nint address, ulong* sizes, ulong* strides, uint* box, uint* elementStrides, int interleave, int swizzle, int promotion, int fill);

    [LibraryImport(Library, EntryPoint = "cuLaunchKernel")]
    public static partial int LaunchKernel(
        nint function, uint gridX, uint gridY, uint gridZ, uint blockX, uint blockY, uint blockZ, uint sharedBytes, nint stream, void** arguments, void** extra);

    [LibraryImport(Library, EntryPoint = "cuStreamSynchronize")]
    public static partial int StreamSynchronize(nint stream);

    [LibraryImport(Library, EntryPoint = "cuStreamCreate")]
    public static partial int StreamCreate(out nint stream, uint flags);

    [LibraryImport(Library, EntryPoint = "cuEventCreate")]
    public static partial int EventCreate(out nint created, uint flags);

    [LibraryImport(Library, EntryPoint = "cuEventDestroy_v2")]
    public static partial int EventDestroy(nint destroyed);

    [LibraryImport(Library, EntryPoint = "cuEventRecord")]
    public static partial int EventRecord(nint recorded, nint stream);

    [LibraryImport(Library, EntryPoint = "cuStreamWaitEvent")]
    public static partial int StreamWaitEvent(nint stream, nint awaited, uint flags);

    [LibraryImport(Library, EntryPoint = "cuEventSynchronize")]
    public static partial int EventSynchronize(nint awaited);

    [LibraryImport(Library, EntryPoint = "cuEventElapsedTime")]
    public static partial int EventElapsedTime(out float milliseconds, nint start, nint end);

    [LibraryImport(Library, EntryPoint = "cuGetErrorString")]
    public static partial int GetErrorString(int error, out byte* text);
}
