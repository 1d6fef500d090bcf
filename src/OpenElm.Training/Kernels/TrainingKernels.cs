using OpenElm.Configuration;
using OpenElm.Training.Kernels.Fused;
using static TorchSharp.torch;

namespace OpenElm.Training.Kernels;

/// <summary>Queries, keys and values ready for attention.</summary>
/// <param name="Q">[batch, queryHeads, seq, headDim].</param>
/// <param name="K">[batch, kvHeads, seq, headDim].</param>
/// <param name="V">[batch, kvHeads, seq, headDim].</param>
internal readonly record struct QueryKeyValue(Tensor Q, Tensor K, Tensor V);

/// <summary>What the steps between matrix products need to know of a layer.</summary>
/// <param name="Shape">Its widths.</param>
/// <param name="HeadDim">Width of a head.</param>
/// <param name="Eps">ε of its norms.</param>
internal readonly record struct AttentionShape(LayerShape Shape, int HeadDim, double Eps);

/// <summary>The steps between matrix products. All sets compute the same formulas; the reference set is the specification.</summary>
internal abstract class TrainingKernels
{
    /// <summary>x32 · rsqrt(mean(x32²) + ε), back in x's type, times weight in the promoted type of both.</summary>
    /// <param name="x">[…, width].</param>
    /// <param name="weight">[width].</param>
    /// <param name="eps">ε.</param>
    /// <returns>[…, width].</returns>
    public abstract Tensor RmsNorm(Tensor x, Tensor weight, double eps);

    /// <summary>Splits the product into heads, normalises queries and keys (if the layer does), and rotates them by their position.</summary>
    /// <param name="qkv">[batch, seq, (queryHeads + 2 · kvHeads) · headDim]: all queries, all keys, all values.</param>
    /// <param name="qNorm">[headDim], or null.</param>
    /// <param name="kNorm">[headDim], or null.</param>
    /// <param name="layout">The position of each token.</param>
    /// <param name="shape">The layer.</param>
    /// <returns>All three in the type of <paramref name="qkv"/>.</returns>
    public abstract QueryKeyValue SplitNormRotate(Tensor qkv, Tensor? qNorm, Tensor? kNorm, SequenceLayout layout, AttentionShape shape);

    /// <summary>softmax(QKᵀ/√headDim + causal mask)·V, each record by itself.</summary>
    /// <param name="heads">Queries, keys and values.</param>
    /// <param name="layout">Which tokens see each other.</param>
    /// <returns>[batch, seq, queryHeads · headDim].</returns>
    public abstract Tensor Attend(QueryKeyValue heads, SequenceLayout layout);

    /// <summary>SiLU(gate) · up, where the first half of the last dimension is the gate.</summary>
    /// <param name="gateUp">[…, 2 · ffnDim].</param>
    /// <returns>[…, ffnDim].</returns>
    public abstract Tensor SwiGlu(Tensor gateUp);

    /// <summary>The set for a choice on a device: the one place that chooses.</summary>
    /// <param name="options">The choice and the device.</param>
    public static TrainingKernels For(ModuleOptions options) =>
        options.Kernels == KernelChoice.Reference ? new ReferenceKernels()
        : options.UsesFusedKernels ? new FusedKernels()
        : new TorchKernels();
}
