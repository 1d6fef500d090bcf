using System.Runtime.InteropServices;

namespace OpenElm.Training.Torch;

/// <summary>File names of the native libraries on this platform, and where a program keeps its own.</summary>
internal static class NativeNames
{
    public const string Shim = "LibTorchSharp";
    public const string TorchCpu = "torch_cpu";
    public const string TorchCuda = "torch_cuda";

    /// <summary>Libraries in the order in which they must be loaded; those in the second list only when present.</summary>
    public static readonly string[] Required = ["c10", TorchCpu, "torch"];

    /// <summary>The whole order. A missing optional library belongs to a build without it (a CPU build has no c10_cuda).</summary>
    public static readonly string[] LoadOrder = ["torch_global_deps", "c10", TorchCpu, "c10_cuda", TorchCuda, "torch"];

    /// <summary>Whether a library can stay away.</summary>
    public static bool IsOptional(string library) => !Required.Contains(library);

    /// <summary>The file name of a library.</summary>
    public static string FileName(string library) =>
        OperatingSystem.IsWindows() ? library + ".dll"
        : OperatingSystem.IsMacOS() ? $"lib{library}.dylib"
        : $"lib{library}.so";

    /// <summary>The platform in NuGet's words.</summary>
    public static string Rid
    {
        get
        {
            string system = OperatingSystem.IsWindows() ? "win" : OperatingSystem.IsMacOS() ? "osx" : "linux";
            return $"{system}-{RuntimeInformation.ProcessArchitecture.ToString().ToLowerInvariant()}";
        }
    }

    static string App => Path.TrimEndingDirectorySeparator(AppContext.BaseDirectory);

    /// <summary>Folders that may hold a program's native libraries, the best first.</summary>
    public static IEnumerable<string> ProgramFolders() => new[] { Path.Combine(App, "torch") }.Where(Directory.Exists).Concat(ProbedFolders());

    /// <summary>Those of them in which .NET looks for libraries by plain name.</summary>
    public static IEnumerable<string> ProbedFolders()
    {
        IEnumerable<string> probed = (AppContext.GetData("NATIVE_DLL_SEARCH_DIRECTORIES") as string ?? "")
            .Split(Path.PathSeparator, StringSplitOptions.RemoveEmptyEntries)
            .Select(Path.TrimEndingDirectorySeparator);
        return new[] { Path.Combine(App, "runtimes", Rid, "native"), App }.Concat(probed).Distinct(StringComparer.Ordinal).Where(Directory.Exists);
    }
}
