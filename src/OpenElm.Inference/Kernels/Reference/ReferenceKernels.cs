using OpenElm.Inference.Tiles;

namespace OpenElm.Inference.Kernels.Reference;

/// <summary>The specification: plain loops, one file each, no tricks. Other sets are compared with this one.</summary>
internal static class ReferenceKernels
{
    /// <summary>Its products with tiles; ahead of the set, which takes them.</summary>
    public static unsafe TileProducts Products { get; } = new(ActivationForm.F32, TileMatMul.Run, FloatProduct.Run);

    /// <summary>The set.</summary>
    public static CpuKernels Set { get; } = new("reference", Products, RmsNorm.Run, Rope.Run, SwiGlu.Run);

}
