using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text.RegularExpressions;
using TorchSharp;
using static TorchSharp.torch;

namespace OpenElm.Training.Torch;

/// <summary>
/// Loads libtorch and TorchSharp's native library before TorchSharp looks for them, so that a folder can be chosen, an older
/// C++ library is accepted, and a failure says what the system's loader said. Every public entry of this project calls
/// <see cref="EnsureLoaded"/>; more calls cost nothing.
/// </summary>
/// <remarks>
/// Libraries are loaded by absolute path in the order of their dependencies; the loader then satisfies later look-ups by
/// name with what is there. The search order is: <see cref="TorchOptions.Folder"/>, the environment variable
/// <c>OPENELM_TORCH</c>, the program's folder <c>torch</c>, its <c>runtimes/RID/native</c>, itself, the host's native search folders.
/// The build puts libtorch into <c>torch</c> because TorchSharp, which loads by plain name, does not look there: it would load
/// that libtorch beside a chosen one, and two of them abort the process.
/// </remarks>
public static partial class TorchLibrary
{
    static readonly Lock Gate = new();
    static Loaded? _loaded;

    sealed record Loaded(string Folder, string? Requested, nint TorchCpu, nint TorchCuda, nint Shim, string ShimPath, bool ShimPatched);

    /// <summary>Loads the libraries if they are not loaded yet.</summary>
    /// <param name="options">Which libtorch; null means the default search.</param>
    /// <exception cref="OpenElmException">There is no libtorch, it does not load, or another one is loaded already.</exception>
    public static void EnsureLoaded(TorchOptions? options = null)
    {
        string? requested = options?.Folder is { Length: > 0 } folder ? Path.GetFullPath(folder) : null;
        Loaded? loaded = Volatile.Read(ref _loaded);
        if (loaded is null)
        {
            lock (Gate)
            {
                loaded = _loaded ??= Load(requested ?? FromEnvironment());
            }
        }

        if (requested is not null && requested != loaded.Folder && requested != loaded.Requested)
        {
            throw new OpenElmException($"libtorch of {loaded.Folder} is in use already; name {requested} before the first use of the training runtime, or in {TorchOptions.FolderVariable}.");
        }
    }

    /// <summary>Says what is loaded.</summary>
    /// <returns>The description.</returns>
    public static TorchDescription Describe()
    {
        Loaded loaded = LoadedLibraries;
        ulong version = Dispatcher.AbiVersion;
        bool cuda = torch.cuda.is_available();
        return new TorchDescription(loaded.Folder, $"{version >> 56}.{(version >> 48) & 0xff}", loaded.ShimPath, loaded.ShimPatched,
            cuda, cuda ? torch.cuda.device_count() : 0, BlasName(loaded.TorchCpu), torch.get_num_threads());
    }

    /// <summary>Whether this machine and this libtorch have a device.</summary>
    /// <param name="name"><c>cpu</c>, <c>cuda</c> or <c>cuda:N</c>.</param>
    /// <exception cref="OpenElmException">The name is no device.</exception>
    public static bool HasDevice(string name)
    {
        (int? index, int devices) = Find(name);
        return index is null || index < devices;
    }

    /// <summary>The device of a name.</summary>
    /// <param name="name"><c>cpu</c>, <c>cuda</c> or <c>cuda:N</c>.</param>
    /// <returns>The device.</returns>
    /// <exception cref="OpenElmException">The name is no device, or this machine or this libtorch has no such device.</exception>
    public static Device Device(string name)
    {
        (int? index, int devices) = Find(name);
        return index is null ? CPU
            : index < devices ? new Device(DeviceType.CUDA, index.Value)
            : throw new OpenElmException($"There is no device {name}: libtorch of {_loaded!.Folder} sees {devices} CUDA devices. " +
                $"Set {TorchOptions.FolderVariable} to the lib folder of a CUDA build of libtorch or PyTorch, or use the device cpu.");
    }

    static string? FromEnvironment() =>
        Environment.GetEnvironmentVariable(TorchOptions.FolderVariable) is { Length: > 0 } folder ? Path.GetFullPath(folder) : null;

    static string BlasName(nint torchCpu) =>
        NativeLibrary.TryGetExport(torchCpu, "mkl_set_dynamic", out _) || NativeLibrary.TryGetExport(torchCpu, "MKL_Set_Dynamic", out _) ? "MKL"
        : OperatingSystem.IsMacOS() ? "Accelerate"
        : NativeLibrary.TryGetExport(torchCpu, "openblas_get_config", out _) ? "OpenBLAS"
        : "unknown";

    static Loaded Load(string? requested)
    {
        string torchFolder = FindTorch(requested);
        RefuseSecond(torchFolder, NativeNames.ProbedFolders());
        string shim = FindShim(torchFolder);
        var handles = new Dictionary<string, nint>();
        foreach (string library in NativeNames.LoadOrder)
        {
            string path = Path.Combine(torchFolder, NativeNames.FileName(library));
            if (File.Exists(path))
            {
                handles[library] = LoadOne(path);
            }
        }

        (nint shimHandle, string shimPath) = LoadShim(shim);
        return new Loaded(torchFolder, requested, handles[NativeNames.TorchCpu], handles.GetValueOrDefault(NativeNames.TorchCuda), shimHandle, shimPath, shimPath != shim);
    }

    internal static string FindTorch(string? requested)
    {
        static bool HoldsTorch(string folder) => NativeNames.Required.All(library => File.Exists(Path.Combine(folder, NativeNames.FileName(library))));

        if (requested is not null)
        {
            // A PyTorch or libtorch folder may be named by its root as well.
            return new[] { requested, Path.Combine(requested, "lib"), Path.Combine(requested, "torch", "lib") }.FirstOrDefault(HoldsTorch)
                ?? throw new OpenElmException($"{requested} holds no libtorch; name the folder of {NativeNames.FileName(NativeNames.TorchCpu)} (option or {TorchOptions.FolderVariable}).");
        }

        return NativeNames.ProgramFolders().FirstOrDefault(HoldsTorch)
            ?? throw new OpenElmException($"Training needs libtorch, and this program was built without it for {NativeNames.Rid}; " +
                $"set {TorchOptions.FolderVariable} to the lib folder of a libtorch or PyTorch 2.10 or later. Searched: {string.Join(", ", NativeNames.ProgramFolders())}.");
    }

    // TorchSharp looks by plain name when it starts. What it finds in these folders is loaded even if another libtorch is
    // there already, and a second one aborts the process while it registers its operators.
    internal static void RefuseSecond(string torchFolder, IEnumerable<string> probedFolders)
    {
        string name = NativeNames.FileName(NativeNames.TorchCpu);
        if (probedFolders.FirstOrDefault(folder => folder != torchFolder && File.Exists(Path.Combine(folder, name))) is { } other)
        {
            throw new OpenElmException($"{torchFolder} cannot be used while {Path.Combine(other, name)} stands where TorchSharp loads it by itself; " +
                $"remove that file, build with OpenElmWithoutLibTorch=true, or leave {TorchOptions.FolderVariable} unset.");
        }
    }

    static string FindShim(string torchFolder)
    {
        string name = NativeNames.FileName(NativeNames.Shim);
        return new[] { torchFolder }.Concat(NativeNames.ProgramFolders()).Select(folder => Path.Combine(folder, name)).FirstOrDefault(File.Exists)
            ?? throw new OpenElmException($"TorchSharp publishes no {name} for {NativeNames.Rid}, so this machine can run inference but not training; " +
                $"build {name} from TorchSharp's sources into the folder that {TorchOptions.FolderVariable} names, or train on linux-x64, win-x64 or osx-arm64.");
    }

    internal static nint LoadOne(string path)
    {
        try
        {
            return NativeLibrary.Load(path);
        }
        catch (Exception e) when (e is DllNotFoundException or BadImageFormatException)
        {
            throw LoadFailure(path, e);
        }
    }

    static (nint Handle, string Path) LoadShim(string shim)
    {
        try
        {
            return (NativeLibrary.Load(shim), shim);
        }
        catch (DllNotFoundException e) when (MissingVersion().Match(e.Message) is { Success: true } match)
        {
            string copy = PatchedShim.Create(shim, match.Groups[1].Value, PatchedShim.DefaultFolders());
            return (LoadOne(copy), copy);
        }
        catch (Exception e) when (e is DllNotFoundException or BadImageFormatException)
        {
            throw LoadFailure(shim, e);
        }
    }

    static OpenElmException LoadFailure(string path, Exception e) => new(
        $"The native library {path} does not load. The system's loader says: {e.Message.Trim()}\n" +
        $"Install what it misses, or set {TorchOptions.FolderVariable} to the lib folder of a libtorch or PyTorch that runs on this machine.", e);

    // Each import of TorchSharp and of ours is answered with the loaded library. This must stand before the first import,
    // which may come from any code that uses this assembly; nothing is loaded until then.
#pragma warning disable CA2255 // "not in libraries": there is no other place to hook in before TorchSharp's first import
    [ModuleInitializer]
#pragma warning restore CA2255
    internal static void AnswerImports()
    {
        NativeLibrary.SetDllImportResolver(typeof(torch).Assembly, (name, _, _) => name == NativeNames.Shim ? LoadedLibraries.Shim : 0);
        NativeLibrary.SetDllImportResolver(typeof(TorchLibrary).Assembly, (name, _, _) => name == NativeNames.TorchCpu ? LoadedLibraries.TorchCpu : name == NativeNames.TorchCuda ? LoadedLibraries.TorchCuda : 0);
    }

    /// <summary>The handle of libtorch's CUDA part; 0 in a build without it.</summary>
    internal static nint CudaHandle => LoadedLibraries.TorchCuda;

    /// <summary>The handle of the part that every build has.</summary>
    internal static nint CpuHandle => LoadedLibraries.TorchCpu;

    static Loaded LoadedLibraries
    {
        get
        {
            EnsureLoaded();
            return _loaded!;
        }
    }

    // The GPU's number, null for the processor, and how many there are.
    static (int? Index, int Devices) Find(string name)
    {
        EnsureLoaded();
        if (name == "cpu")
        {
            return (null, 0);
        }

        return CudaName().Match(name) is { Success: true } match
            // TorchSharp asks libtorch, which knows CUDA only in a CUDA build and only with a driver.
            ? (match.Groups[1].Success ? int.Parse(match.Groups[1].Value) : 0, cuda.is_available() ? cuda.device_count() : 0)
            : throw new OpenElmException($"{name} is no device; name cpu, cuda or cuda:N.");
    }

    [GeneratedRegex(@"^cuda(?::(\d{1,4}))?$")]
    private static partial Regex CudaName();

    [GeneratedRegex(@"version `(GLIBCXX_3\.4\.32)' not found")]
    private static partial Regex MissingVersion();
}
