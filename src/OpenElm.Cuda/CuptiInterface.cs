using System.Runtime.InteropServices;

namespace OpenElm.Cuda;

/// <summary>The functions of CUPTI's activity interface that this project uses. All return 0 on success.</summary>
internal static unsafe partial class CuptiInterface
{
    const string Library = CudaLibraries.Cupti;

    public const int ConcurrentKernel = 10; // CUpti_ActivityKind

    [LibraryImport(Library, EntryPoint = "cuptiActivityRegisterCallbacks")]
    public static partial int RegisterCallbacks(
        delegate* unmanaged<byte**, nuint*, nuint*, void> requested, delegate* unmanaged<nint, uint, byte*, nuint, nuint, void> completed);

    [LibraryImport(Library, EntryPoint = "cuptiActivityEnable")]
    public static partial int Enable(int kind);

    [LibraryImport(Library, EntryPoint = "cuptiActivityDisable")]
    public static partial int Disable(int kind);

    [LibraryImport(Library, EntryPoint = "cuptiActivityFlushAll")]
    public static partial int FlushAll(uint flag);

    [LibraryImport(Library, EntryPoint = "cuptiActivityGetNextRecord")]
    public static partial int GetNextRecord(byte* buffer, nuint validBytes, ref byte* record);
}
