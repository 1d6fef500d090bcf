namespace OpenElm.Inference.Kernels.Simd;

/// <summary>Portable vectors (<see cref="System.Numerics.Vector{T}"/>): whatever width the processor and the JIT agree on.</summary>
internal static class SimdKernels
{
    /// <summary>The set.</summary>
    public static CpuKernels Set { get; } = new("simd", Reference.ReferenceKernels.Products, RmsNorm.Run, Rope.Run, SwiGlu.Run);
}
