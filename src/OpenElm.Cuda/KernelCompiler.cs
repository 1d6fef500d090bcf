using System.Collections.Concurrent;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text;

namespace OpenElm.Cuda;

/// <summary>Compiles CUDA C++ to machine code for one architecture; needs NVRTC, but no GPU.</summary>
/// <remarks>Machine code is kept in a folder under the hash of source, options and compiler version: the next start compiles nothing.</remarks>
public static class KernelCompiler
{
    // By file: who wants what is being compiled waits for it.
    static readonly ConcurrentDictionary<string, Lazy<byte[]>> Underway = new();

    /// <summary>Where machine code is kept: <c>OPENELM_KERNEL_CACHE</c>, else a folder of the user's local data.</summary>
    public static string CacheFolder => Environment.GetEnvironmentVariable("OPENELM_KERNEL_CACHE") is { Length: > 0 } folder ? folder
        : Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.LocalApplicationData, Environment.SpecialFolderOption.DoNotVerify), "openelm", "kernels");

    /// <summary>Whether NVRTC is on this machine.</summary>
    public static bool IsAvailable => CudaLibraries.TryLoad(CudaLibraries.Nvrtc, out _);

    /// <summary>Compiles, or finds what an earlier call compiled.</summary>
    /// <param name="name">The source's name in messages.</param>
    /// <param name="source">CUDA C++.</param>
    /// <param name="computeCapability">90 is Hopper.</param>
    /// <param name="constants">Preprocessor definitions.</param>
    /// <returns>Machine code (a cubin).</returns>
    /// <exception cref="CudaException">There is no compiler, or it refuses the source.</exception>
    public static byte[] Compile(string name, string source, int computeCapability, IReadOnlyDictionary<string, string> constants)
    {
        ArgumentNullException.ThrowIfNull(constants);
        string architecture = string.Create(CultureInfo.InvariantCulture, $"sm_{computeCapability}{(computeCapability == 90 ? "a" : "")}");
        string[] options =
        [
            $"--gpu-architecture={architecture}", "--std=c++17", "--extra-device-vectorization",
            .. constants.OrderBy(entry => entry.Key, StringComparer.Ordinal).Select(entry => $"--define-macro={entry.Key}={entry.Value}"),
        ];
        Check(NvrtcInterface.Version(out int major, out int minor), "nvrtcVersion");
        string key = Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(string.Join('\n', [$"nvrtc {major}.{minor}", .. options, source]))));
        string file = Path.Combine(CacheFolder, $"{name}-{key[..24]}.cubin");
        Lazy<byte[]> underway = Underway.GetOrAdd(file, _ => new(() => FindOrCompile(file, name, source, options)));
        try
        {
            return underway.Value;
        }
        finally
        {
            _ = Underway.TryRemove(new(file, underway));
        }
    }

    static byte[] FindOrCompile(string file, string name, string source, string[] options)
    {
        if (File.Exists(file))
        {
            return File.ReadAllBytes(file);
        }

        byte[] cubin = CompileAnew(name, source, options);
        Keep(file, cubin);
        return cubin;
    }

    static unsafe byte[] CompileAnew(string name, string source, string[] options)
    {
        Check(NvrtcInterface.CreateProgram(out nint program, source, name + ".cu", 0, null, null), "nvrtcCreateProgram");
        nint[] texts = [.. options.Select(Marshal.StringToCoTaskMemUTF8)];
        try
        {
            fixed (nint* first = texts)
            {
                if (NvrtcInterface.CompileProgram(program, texts.Length, (byte**)first) != 0)
                {
                    throw new CudaException($"{name}.cu does not compile with {string.Join(' ', options)}:\n{Log(program)}");
                }
            }

            Check(NvrtcInterface.GetCubinSize(program, out nuint size), "nvrtcGetCUBINSize");
            byte[] cubin = new byte[size];
            fixed (byte* bytes = cubin)
            {
                Check(NvrtcInterface.GetCubin(program, bytes), "nvrtcGetCUBIN");
            }

            return cubin;
        }
        finally
        {
            Array.ForEach(texts, Marshal.FreeCoTaskMem);
            _ = NvrtcInterface.DestroyProgram(ref program);
        }
    }

    static unsafe string Log(nint program)
    {
        Check(NvrtcInterface.GetLogSize(program, out nuint size), "nvrtcGetProgramLogSize");
        byte[] log = new byte[size];
        fixed (byte* bytes = log)
        {
            Check(NvrtcInterface.GetLog(program, bytes), "nvrtcGetProgramLog");
        }

        return Encoding.UTF8.GetString(log).TrimEnd('\0', '\n');
    }

    // A folder that cannot be written costs the same work at every start and nothing else.
    internal static void Keep(string file, byte[] content)
    {
        try
        {
            Directory.CreateDirectory(Path.GetDirectoryName(file)!);
            string temporary = $"{file}.{Environment.ProcessId}";
            File.WriteAllBytes(temporary, content);
            File.Move(temporary, file, overwrite: true);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
        }
    }

    static void Check(int result, string call)
    {
        if (result != 0)
        {
            throw new CudaException($"NVRTC: {call} failed with code {result}");
        }
    }
}
