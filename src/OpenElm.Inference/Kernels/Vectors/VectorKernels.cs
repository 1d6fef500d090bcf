using System.Runtime.Intrinsics;
using OpenElm.Inference.Kernels.Simd;
using OpenElm.Inference.Tiles;

namespace OpenElm.Inference.Kernels.Vectors;

/// <summary>
/// The sets made of .NET's vectors. Products exist once for each width; the element-wise kernels take
/// <see cref="System.Numerics.Vector{T}"/> in all of them.
/// </summary>
internal static unsafe class VectorKernels
{
    /// <summary>512 bits: AVX-512 F and BW.</summary>
    public static CpuKernels Avx512 => Set<Lanes512, Vector512<float>, Vector512<int>>("avx512");

    /// <summary>256 bits: AVX2 and FMA.</summary>
    public static CpuKernels Avx2 => Set<Lanes256, Vector256<float>, Vector256<int>>("avx2");

    /// <summary>128 bits: any processor that has vectors.</summary>
    public static CpuKernels Vector128 => Set<Lanes128, Vector128<float>, Vector128<int>>("vector128");

    static CpuKernels Set<TLanes, TFloats, TInts>(string name)
        where TLanes : ILanes<TFloats, TInts>
        where TFloats : unmanaged
        where TInts : unmanaged => new(
            name, new TileProducts(ActivationForm.F32, TileMatMul<TLanes, TFloats, TInts>.Run, FloatProduct<TLanes, TFloats, TInts>.Run),
            RmsNorm.Run, Rope.Run, SwiGlu.Run);
}
