using System.Reflection;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace OpenElm.Cuda;

/// <summary>
/// Finds NVIDIA's libraries: the driver where the system has it, the others beside the libtorch in use (Python's wheels keep them in
/// <c>nvidia/*/lib</c>), else wherever the system's loader looks. Versions 13 and 12 are known.
/// </summary>
public static class CudaLibraries
{
    internal const string Driver = "cuda", Nvrtc = "nvrtc", CublasLt = "cublasLt", Cupti = "cupti";

    static readonly Lock Gate = new();
    static readonly Dictionary<string, nint> Loaded = [];
    static string[] _folders = [];

    /// <summary>Names the folder of the libtorch in use: its neighbours are looked at first.</summary>
    /// <param name="torchFolder">The folder of <c>libtorch_cuda</c>.</param>
    public static void SearchBeside(string torchFolder)
    {
        ArgumentNullException.ThrowIfNull(torchFolder);
        string packages = Path.GetFullPath(Path.Combine(torchFolder, "..", "..", "nvidia"));
        string[] wheels = Directory.Exists(packages) ? [.. Directory.GetDirectories(packages).Order(StringComparer.Ordinal).Select(folder => Path.Combine(folder, "lib"))] : [];
        lock (Gate)
        {
            _folders = [torchFolder, .. wheels];
        }
    }

    /// <summary>Whether kernels can be compiled and run here.</summary>
    /// <param name="reason">What is missing; null if nothing is.</param>
    /// <returns>Whether driver, compiler and matrix products are there.</returns>
    public static bool AreAvailable(out string? reason)
    {
        string? missing = new[] { Driver, Nvrtc, CublasLt }.FirstOrDefault(library => !TryLoad(library, out _));
        reason = missing is null ? null : $"none of {string.Join(", ", FileNames(missing))} loads";
        return missing is null;
    }

#pragma warning disable CA2255 // "not in libraries": there is no other place to hook in before the first import
    [ModuleInitializer]
#pragma warning restore CA2255
    internal static void AnswerImports() => NativeLibrary.SetDllImportResolver(Assembly.GetExecutingAssembly(), (name, _, _) =>
        TryLoad(name, out nint handle) ? handle
        : throw new CudaException($"None of {string.Join(", ", FileNames(name))} loads; install NVIDIA's driver and CUDA libraries, or name the folder of a libtorch that brings them."));

    internal static bool TryLoad(string library, out nint handle)
    {
        lock (Gate)
        {
            if (Loaded.TryGetValue(library, out handle))
            {
                return true;
            }

            IEnumerable<string> candidates = FileNames(library).SelectMany(name => _folders.Select(folder => Path.Combine(folder, name)).Where(File.Exists)).Concat(FileNames(library));
            foreach (string candidate in candidates)
            {
                if (NativeLibrary.TryLoad(candidate, out handle))
                {
                    Loaded[library] = handle;
                    return true;
                }
            }

            return false;
        }
    }

    static string[] FileNames(string library) => (library, OperatingSystem.IsWindows()) switch
    {
        (Driver, false) => ["libcuda.so.1"],
        (Driver, true) => ["nvcuda.dll"],
        (Nvrtc, true) => ["nvrtc64_130_0.dll", "nvrtc64_120_0.dll"],
        (Cupti, true) => ["cupti64_2025.3.1.dll"],
        (_, true) => [$"{library}64_13.dll", $"{library}64_12.dll"],
        _ => [$"lib{library}.so.13", $"lib{library}.so.12", $"lib{library}.so"],
    };
}
