using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;

namespace OpenElm.Inference.Kernels.Assembled;

/// <summary>What the processor says of itself (CPUID) and what the system saves of it (XCR0): the words that the assembled kernels depend on.</summary>
/// <param name="Leaf1Ecx">Leaf 1.</param>
/// <param name="Leaf7Ebx">Leaf 7, first part.</param>
/// <param name="Leaf7Ecx">Leaf 7, first part.</param>
/// <param name="Leaf7SecondEax">Leaf 7, second part; 0 where there is none.</param>
/// <param name="SavedState">XCR0: the register files that the system saves when it switches threads; 0 where it cannot be asked.</param>
internal readonly record struct ProcessorFeatures(int Leaf1Ecx, int Leaf7Ebx, int Leaf7Ecx, int Leaf7SecondEax, ulong SavedState)
{
    /// <summary>Leaf 1 ECX: XGETBV may be executed.</summary>
    public const int SystemSavesState = 1 << 27;

    /// <summary>Leaf 1 ECX: conversion from half precision.</summary>
    public const int HalfConversion = 1 << 29;

    /// <summary>Leaf 7 EBX: AVX-512F and AVX-512BW.</summary>
    public const int Avx512Foundation = (1 << 16) | (1 << 30);

    /// <summary>Leaf 7 ECX: AVX-512 VNNI (vpdpbusd).</summary>
    public const int Vnni = 1 << 11;

    /// <summary>Leaf 7 EAX, second part: AVX-512 BF16 (vdpbf16ps).</summary>
    public const int BFloat16 = 1 << 5;

    /// <summary>XCR0: XMM, YMM, masks, ZMM 0-15 upper halves, ZMM 16-31.</summary>
    public const ulong VectorState = 0xE6;

    /// <summary>Whether everything is there that the assembled kernels use.</summary>
    public bool Suffice =>
        (Leaf1Ecx & SystemSavesState) != 0 && (Leaf1Ecx & HalfConversion) != 0
        && (Leaf7Ebx & Avx512Foundation) == Avx512Foundation
        && (Leaf7Ecx & Vnni) != 0 && (Leaf7SecondEax & BFloat16) != 0
        && (SavedState & VectorState) == VectorState;

    /// <summary>Asks this machine.</summary>
    /// <returns>Its features; all 0 where it is no x64 Linux, where the system lets no new code run, or where the user has switched AVX-512 off.</returns>
    public static ProcessorFeatures OfThisMachine()
    {
        if (!OperatingSystem.IsLinux() || RuntimeInformation.ProcessArchitecture != Architecture.X64 || !X86Base.IsSupported || SwitchedOff)
        {
            return default;
        }

        int leaves = X86Base.CpuId(0, 0).Eax, leaf1 = X86Base.CpuId(1, 0).Ecx;
        if (leaves < 7 || (leaf1 & SystemSavesState) == 0)
        {
            return default;
        }

        (int parts, int ebx, int ecx, _) = X86Base.CpuId(7, 0);
        var features = new ProcessorFeatures(leaf1, ebx, ecx, parts >= 1 ? X86Base.CpuId(7, 1).Eax : 0, VectorState);
        return features.Suffice ? features with { SavedState = ReadSavedState() } : features with { SavedState = 0 };
    }

    // The JIT answers for DOTNET_EnableAVX512=0 and the like. Compiled ahead of time, IsSupported is false on every processor, so the variables are read here.
    static bool SwitchedOff => RuntimeFeature.IsDynamicCodeCompiled
        ? !Avx512BW.IsSupported
        : Environment.GetEnvironmentVariable("DOTNET_EnableAVX512") == "0" || Environment.GetEnvironmentVariable("DOTNET_EnableHWIntrinsic") == "0";

    // .NET has no call for XGETBV; this one shows, too, that the system lets us run code of our own.
    static unsafe ulong ReadSavedState()
    {
        // xor ecx, ecx; xgetbv; shl rdx, 32; or rax, rdx; ret
        ReadOnlySpan<byte> code = [0x31, 0xC9, 0x0F, 0x01, 0xD0, 0x48, 0xC1, 0xE2, 0x20, 0x48, 0x09, 0xD0, 0xC3];
        try
        {
            return ((delegate* unmanaged<ulong>)ExecutableMemory.Load(code))();
        }
        catch (OpenElmException)
        {
            return 0;
        }
    }
}
