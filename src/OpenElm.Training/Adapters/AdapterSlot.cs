using OpenElm.Training.Matrices;
using TorchSharp;
using static TorchSharp.torch;

namespace OpenElm.Training.Adapters;

/// <summary>What adapters change in one module.</summary>
/// <param name="matrix">The module's own weight.</param>
/// <param name="mergedType">The element type of a weight that adapters are folded into.</param>
internal sealed class AdapterSlot(Matrix matrix, ScalarType mergedType)
{
    public Matrix Matrix => matrix;

    /// <summary>The adapters, in the order in which they were attached.</summary>
    public List<LowRankLayer> Layers { get; } = [];

    /// <summary>The weight with the adapters folded in, of the same shape; null while they are not.</summary>
    public Tensor? Merged { get; private set; }

    /// <summary>The adapters to apply.</summary>
    public IEnumerable<LowRankLayer> Active => Merged is null ? Layers.Where(layer => layer.IsEnabled) : [];

    /// <summary>The product of a linear layer, with its adapters.</summary>
    /// <param name="x">[batch, seq, inputs] in the type of products.</param>
    /// <returns>[batch, seq, outputs].</returns>
    public Tensor Multiply(Tensor x)
    {
        if (Merged is not null)
        {
            using Tensor merged = Merged.to_type(x.dtype);
            return nn.functional.linear(x, merged);
        }

        LowRankLayer[] active = [.. Active.OrderByDescending(layer => layer.Magnitude is not null)];      // those that read W x before those that add to it in place
        if (active is [])
        {
            return matrix.Multiply(x);
        }

        using DisposeScope scope = NewDisposeScope();
        Tensor rows = x.flatten(0, -2), plain = matrix.Multiply(rows), y = plain;                         // [tokens, outputs]
        foreach (LowRankLayer layer in active)
        {
            y = layer.AddTo(rows, plain, y);
        }

        return y.view([.. x.shape[..^1], -1]).MoveToOuterDisposeScope();
    }

    /// <summary>Folds the adapters that are enabled into a copy of the weight.</summary>
    /// <param name="name">The module, for the message.</param>
    /// <exception cref="OpenElmException">The result is not finite; the copy is dropped then.</exception>
    public void Merge(string name)
    {
        if (!Layers.Exists(layer => layer.IsEnabled))
        {
            return;
        }

        using DisposeScope scope = NewDisposeScope();
        using var noGrad = no_grad();
        Tensor sum = matrix.Floats(0, matrix.Rows);
        foreach (LowRankLayer layer in Layers.Where(layer => layer.IsEnabled))
        {
            sum = sum.Plus(layer.WeightChange());
        }

        Tensor merged = sum.to_type(mergedType);
        Merged = merged.isfinite().all().item<bool>()
            ? merged.DetachFromDisposeScope()
            : throw new OpenElmException($"{name}.weight merged is not finite; an adapter or the model is damaged, or a scale too large.");
    }

    /// <summary>Drops the copy.</summary>
    public void Unmerge()
    {
        Merged?.Dispose();
        Merged = null;
    }
}
