using System.Collections.Immutable;
using System.Numerics;
using System.Reflection;
using System.Runtime;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.Arm;
using System.Runtime.Intrinsics.X86;

namespace OpenElm.Diagnostics;

/// <summary>The machine and the runtime that a result was made on: part of every report of measured numbers.</summary>
/// <param name="Version">This project's version and commit.</param>
/// <param name="Runtime">.NET's version, and whether the program is native code.</param>
/// <param name="OperatingSystem">Name and version.</param>
/// <param name="Architecture">For example <c>x64</c>.</param>
/// <param name="Cpu">The processor's own name, or the architecture where the system does not tell.</param>
/// <param name="Cores">Cores that this process may use.</param>
/// <param name="MemoryBytes">Memory that this process may use.</param>
/// <param name="VectorBits">Width of <see cref="Vector{T}"/>.</param>
/// <param name="CpuFeatures">Instruction sets that .NET's intrinsics use here; a program compiled ahead of time knows only those it was compiled for.</param>
/// <param name="GarbageCollector"><c>server</c> or <c>workstation</c>.</param>
public sealed record Machine(
    string Version,
    string Runtime,
    string OperatingSystem,
    string Architecture,
    string Cpu,
    int Cores,
    long MemoryBytes,
    int VectorBits,
    ImmutableArray<string> CpuFeatures,
    string GarbageCollector)
{
    /// <summary>This project's version and commit.</summary>
    public static string ProgramVersion { get; } =
        typeof(Machine).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()!.InformationalVersion;

    /// <summary>Describes this process.</summary>
    /// <returns>The facts, read now.</returns>
    public static Machine Current() => new(
        ProgramVersion,
        RuntimeInformation.FrameworkDescription + (IsNative ? ", compiled ahead of time" : ""),
        RuntimeInformation.OSDescription,
        RuntimeInformation.ProcessArchitecture.ToString().ToLowerInvariant(),
        CpuName(),
        Environment.ProcessorCount,
        GC.GetGCMemoryInfo().TotalAvailableMemoryBytes,
        Vector<byte>.Count * 8,
        Features(),
        GCSettings.IsServerGC ? "server" : "workstation");

    // The host of a program that is compiled as it runs says where the runtime's assemblies are.
    static bool IsNative => AppContext.GetData("TRUSTED_PLATFORM_ASSEMBLIES") is null;

    static ImmutableArray<string> Features() =>
    [
        .. new (string Name, bool IsSupported)[]
        {
            ("avx", Avx.IsSupported), ("avx2", Avx2.IsSupported), ("fma", Fma.IsSupported), ("bmi2", Bmi2.IsSupported), ("avxvnni", AvxVnni.IsSupported),
            ("avx512f", Avx512F.IsSupported), ("avx512bw", Avx512BW.IsSupported), ("avx512vbmi", Avx512Vbmi.IsSupported),
            ("neon", AdvSimd.IsSupported), ("dotprod", Dp.IsSupported),
        }.Where(feature => feature.IsSupported).Select(feature => feature.Name),
    ];

    static string CpuName()
    {
        const string linux = "/proc/cpuinfo";
        string? line = File.Exists(linux) ? File.ReadLines(linux).FirstOrDefault(l => l.StartsWith("model name", StringComparison.Ordinal)) : null;
        return line?[(line.IndexOf(':', StringComparison.Ordinal) + 1)..].Trim()
            ?? Environment.GetEnvironmentVariable("PROCESSOR_IDENTIFIER") // Windows
            ?? RuntimeInformation.ProcessArchitecture.ToString().ToLowerInvariant();
    }
}
