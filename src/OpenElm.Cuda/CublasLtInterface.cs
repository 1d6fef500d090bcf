using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace OpenElm.Cuda;

/// <summary>The functions of cuBLASLt that this project uses. All return 0 on success.</summary>
internal static unsafe partial class CublasLtInterface
{
    const string Library = CudaLibraries.CublasLt;

    public const int ComputeFloat = 68;                                           // CUBLAS_COMPUTE_32F
    public const int Float32 = 0, BFloat16 = 14, E4M3 = 28, E5M2 = 29;            // CUDA_R_32F, CUDA_R_16BF, CUDA_R_8F_…
    public const int TransposeA = 3, TransposeB = 4;                              // cublasLtMatmulDescAttributes_t
    public const int FactorA = 17, FactorB = 18, FastAccumulation = 25;           // likewise
    public const int MaxWorkspace = 1, ReductionSchemes = 3;                      // cublasLtMatmulPreferenceAttributes_t
    public const uint ReproducibleReductions = 2 | 4;                             // in compute type, in output type; not in place

    /// <summary>cublasLtMatmulHeuristicResult_t: an algorithm and what the library expects of it.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct Heuristic
    {
        public Algorithm Algorithm;
        public nuint WorkspaceBytes;
        public int State;
        public float Waves;
        public Reserved Rest;
    }

    /// <summary>cublasLtMatmulAlgo_t.</summary>
    [InlineArray(8)]
    public struct Algorithm
    {
        ulong _first;
    }

    [InlineArray(4)]
    public struct Reserved
    {
        int _first;
    }

    [LibraryImport(Library, EntryPoint = "cublasLtGetVersion")]
    public static partial nuint Version();

    [LibraryImport(Library, EntryPoint = "cublasLtCreate")]
    public static partial int Create(out nint handle);

    [LibraryImport(Library, EntryPoint = "cublasLtDestroy")]
    public static partial int Destroy(nint handle);

    [LibraryImport(Library, EntryPoint = "cublasLtMatmulDescCreate")]
    public static partial int DescriptorCreate(out nint descriptor, int computeType, int scaleType);

    [LibraryImport(Library, EntryPoint = "cublasLtMatmulDescDestroy")]
    public static partial int DescriptorDestroy(nint descriptor);

    [LibraryImport(Library, EntryPoint = "cublasLtMatmulDescSetAttribute")]
    public static partial int DescriptorSet(nint descriptor, int attribute, void* value, nuint bytes);

    [LibraryImport(Library, EntryPoint = "cublasLtMatrixLayoutCreate")]
    public static partial int LayoutCreate(out nint layout, int type, ulong rows, ulong columns, long leadingDimension);

    [LibraryImport(Library, EntryPoint = "cublasLtMatrixLayoutDestroy")]
    public static partial int LayoutDestroy(nint layout);

    [LibraryImport(Library, EntryPoint = "cublasLtMatmulPreferenceCreate")]
    public static partial int PreferenceCreate(out nint preference);

    [LibraryImport(Library, EntryPoint = "cublasLtMatmulPreferenceDestroy")]
    public static partial int PreferenceDestroy(nint preference);

    [LibraryImport(Library, EntryPoint = "cublasLtMatmulPreferenceSetAttribute")]
    public static partial int PreferenceSet(nint preference, int attribute, void* value, nuint bytes);

    [LibraryImport(Library, EntryPoint = "cublasLtMatmulAlgoGetHeuristic")]
    public static partial int GetHeuristics(nint handle, nint descriptor, nint a, nint b, nint c, nint d, nint preference, int wanted, Heuristic* results, out int found);

    [LibraryImport(Library, EntryPoint = "cublasLtMatmul")]
    public static partial int Multiply(
        nint handle, nint descriptor, float* alpha, nint a, nint aLayout, nint b, nint bLayout, float* beta, nint c, nint cLayout, nint d, nint dLayout,
        Algorithm* algorithm, nint workspace, nuint workspaceBytes, nint stream);
}
