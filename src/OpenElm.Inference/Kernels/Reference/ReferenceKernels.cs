namespace OpenElm.Inference.Kernels.Reference;

/// <summary>The specification: plain loops, one file each, no tricks. Other sets are compared with this one.</summary>
internal static class ReferenceKernels
{
    /// <summary>The set.</summary>
    public static CpuKernels Set { get; } = new("reference", RmsNorm.Run, MatMul.Run, Rope.Run, Attention.Run, SwiGlu.Run, Add.Run);
}
