using System.Runtime.InteropServices;

namespace OpenElm.Distributed;

/// <summary>The functions of NCCL 2 that this project uses. All return 0 on success.</summary>
internal static unsafe partial class NcclInterface
{
    const string Library = NativeLibraries.Nccl;

    public const int Byte = 1, Float = 7, Sum = 0;

    /// <summary>What ranks must share to find each other.</summary>
    public struct UniqueId
    {
        fixed byte _bytes[128];
    }

    [LibraryImport(Library, EntryPoint = "ncclGetUniqueId")]
    public static partial int GetUniqueId(UniqueId* id);

    [LibraryImport(Library, EntryPoint = "ncclCommInitRank")]
    public static partial int InitRank(out nint communicator, int size, UniqueId id, int rank);

    [LibraryImport(Library, EntryPoint = "ncclCommDestroy")]
    public static partial int Destroy(nint communicator);

    [LibraryImport(Library, EntryPoint = "ncclAllReduce")]
    public static partial int AllReduce(nint source, nint target, nuint count, int type, int operation, nint communicator, nint stream);

    [LibraryImport(Library, EntryPoint = "ncclReduceScatter")]
    public static partial int ReduceScatter(nint source, nint target, nuint count, int type, int operation, nint communicator, nint stream);

    [LibraryImport(Library, EntryPoint = "ncclAllGather")]
    public static partial int AllGather(nint source, nint target, nuint count, int type, nint communicator, nint stream);

    [LibraryImport(Library, EntryPoint = "ncclGetErrorString")]
    public static partial byte* ErrorString(int error);
}
