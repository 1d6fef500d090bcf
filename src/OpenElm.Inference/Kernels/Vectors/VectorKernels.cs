using System.Runtime.Intrinsics;
using OpenElm.Inference.Tiles;

namespace OpenElm.Inference.Kernels.Vectors;

/// <summary>What sets are made of by .NET's vectors: products for each width, and element-wise kernels whose width the compiler chooses.</summary>
internal static unsafe class VectorKernels
{
    /// <summary>512 bits: AVX-512 F and BW.</summary>
    public static TileProducts Avx512 { get; } = Products<Lanes512, Vector512<float>, Vector512<int>>();

    /// <summary>256 bits: AVX2 and FMA.</summary>
    public static TileProducts Avx2 { get; } = Products<Lanes256, Vector256<float>, Vector256<int>>();

    /// <summary>128 bits: any processor that has vectors.</summary>
    public static TileProducts Vector128 { get; } = Products<Lanes128, Vector128<float>, Vector128<int>>();

    /// <summary>A set whose element-wise kernels take <see cref="System.Numerics.Vector{T}"/>.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="products">Its products.</param>
    /// <returns>The set.</returns>
    public static CpuKernels Set(string name, TileProducts products) => new(name, products, RmsNorm.Run, Rope.Run, SwiGlu.Run);

    static TileProducts Products<TLanes, TFloats, TInts>()
        where TLanes : ILanes<TFloats, TInts>
        where TFloats : unmanaged
        where TInts : unmanaged =>
        new(ActivationForm.F32, TileMatMul<TLanes, TFloats, TInts>.Run, FloatProduct<TLanes, TFloats, TInts>.Run);
}
