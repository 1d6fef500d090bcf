using TorchSharp;
using static TorchSharp.torch;

namespace OpenElm.Training.Adapters;

/// <summary>What adapters change in one module.</summary>
/// <param name="weight">The module's own weight.</param>
internal sealed class AdapterSlot(TorchSharp.Modules.Parameter weight)
{
    public TorchSharp.Modules.Parameter Weight => weight;

    /// <summary>The adapters, in the order in which they were attached.</summary>
    public List<LowRankLayer> Layers { get; } = [];

    /// <summary>The weight with the adapters folded in, of the same shape and type; null while they are not.</summary>
    public Tensor? Merged { get; private set; }

    /// <summary>The weight to compute with.</summary>
    public Tensor Effective => Merged ?? weight;

    /// <summary>The adapters to apply.</summary>
    public IEnumerable<LowRankLayer> Active => Merged is null ? Layers.Where(layer => layer.IsEnabled) : [];

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
        Tensor sum = weight.to_type(ScalarType.Float32);
        foreach (LowRankLayer layer in Layers.Where(layer => layer.IsEnabled))
        {
            sum += layer.WeightChange();
        }

        Tensor merged = sum.to_type(weight.dtype);
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
