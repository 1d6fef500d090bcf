using System.Reflection;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace OpenElm.Distributed;

/// <summary>Finds Open MPI and NCCL when the first of their functions is called; a process that is alone calls none.</summary>
internal static class NativeLibraries
{
    public const string Mpi = "mpi", Nccl = "nccl";

    static readonly Dictionary<string, string[]> FileNames = new() { [Mpi] = ["libmpi.so.40", "libmpi.so"], [Nccl] = ["libnccl.so.2", "libnccl.so"] };

#pragma warning disable CA2255 // "not in libraries": there is no other place to hook in before the first import
    [ModuleInitializer]
#pragma warning restore CA2255
    internal static void AnswerImports() => NativeLibrary.SetDllImportResolver(Assembly.GetExecutingAssembly(), (name, _, _) =>
        !FileNames.ContainsKey(name) ? 0
        : TryLoad(name, out nint handle) ? handle
        : throw new OpenElmException(name == Mpi
            ? "This process was started as one of several, but Open MPI's library does not load (libmpi.so.40); install it (Debian: openmpi-bin, libopenmpi3), or name its folder in LD_LIBRARY_PATH."
            : "NVIDIA's NCCL does not load (libnccl.so.2); name its folder in LD_LIBRARY_PATH."));

    public static bool TryLoad(string library, out nint handle)
    {
        foreach (string file in FileNames[library])
        {
            if (NativeLibrary.TryLoad(file, out handle))
            {
                return true;
            }
        }

        handle = 0;
        return false;
    }
}
