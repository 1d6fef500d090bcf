using System.Runtime.InteropServices;

namespace OpenElm.Distributed;

/// <summary>The functions of Open MPI that this project uses (the ABI of versions 4 and 5). All return 0 on success.</summary>
/// <remarks>Open MPI's communicators, types and operators are addresses of variables that the library exports.</remarks>
internal static unsafe partial class MpiInterface
{
    const string Library = NativeLibraries.Mpi;

    public const int ThreadSerialized = 2;
    public static readonly nint InPlace = 1;

    static readonly Lazy<nint> Handle = new(() => NativeLibraries.TryLoad(Library, out nint handle) ? handle : 0);

    public static nint World { get; } = NativeLibrary.GetExport(Handle.Value, "ompi_mpi_comm_world");

    public static nint Byte { get; } = NativeLibrary.GetExport(Handle.Value, "ompi_mpi_byte");

    public static nint Float { get; } = NativeLibrary.GetExport(Handle.Value, "ompi_mpi_float");

    public static nint Sum { get; } = NativeLibrary.GetExport(Handle.Value, "ompi_mpi_op_sum");

    [LibraryImport(Library, EntryPoint = "MPI_Init_thread")]
    public static partial int Init(int* argc, byte*** argv, int required, out int provided);

    [LibraryImport(Library, EntryPoint = "MPI_Finalize")]
    public static partial int Finish();

    [LibraryImport(Library, EntryPoint = "MPI_Abort")]
    public static partial int Abort(nint communicator, int code);

    [LibraryImport(Library, EntryPoint = "MPI_Comm_rank")]
    public static partial int Rank(nint communicator, out int rank);

    [LibraryImport(Library, EntryPoint = "MPI_Comm_size")]
    public static partial int Size(nint communicator, out int size);

    [LibraryImport(Library, EntryPoint = "MPI_Iallreduce")]
    public static partial int AllReduce(nint source, nint target, int count, nint type, nint operation, nint communicator, out nint request);

    [LibraryImport(Library, EntryPoint = "MPI_Ireduce_scatter_block")]
    public static partial int ReduceScatter(nint source, nint target, int count, nint type, nint operation, nint communicator, out nint request);

    [LibraryImport(Library, EntryPoint = "MPI_Iallgather")]
    public static partial int AllGather(nint source, int sourceCount, nint sourceType, nint target, int targetCount, nint targetType, nint communicator, out nint request);

    [LibraryImport(Library, EntryPoint = "MPI_Ibcast")]
    public static partial int Broadcast(nint data, int count, nint type, int root, nint communicator, out nint request);

    [LibraryImport(Library, EntryPoint = "MPI_Isend")]
    public static partial int Send(void* data, int count, nint type, int target, int tag, nint communicator, out nint request);

    [LibraryImport(Library, EntryPoint = "MPI_Irecv")]
    public static partial int Receive(void* data, int count, nint type, int source, int tag, nint communicator, out nint request);

    [LibraryImport(Library, EntryPoint = "MPI_Test")]
    public static partial int Test(ref nint request, out int done, nint status);

    [LibraryImport("libc", EntryPoint = "usleep")]
    public static partial int Sleep(uint microseconds);
}
