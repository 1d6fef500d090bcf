using System.Collections.Immutable;
using OpenElm.Checkpoints;
using TorchSharp;
using static TorchSharp.torch;

namespace OpenElm.Training.Optimization;

/// <summary>An exponential moving average of weights: average = (1 − m) · average + m · weight after each update.</summary>
public sealed class ExponentialMovingAverage : IDisposable
{
    readonly ImmutableArray<(string Name, Tensor Weight, Tensor Average)> _entries;
    readonly double _momentum;

    /// <summary>Starts the average at the present weights.</summary>
    /// <param name="weights">The weights, for example <see cref="AdamW.MasterWeights"/>.</param>
    /// <param name="momentum">m, the share of the newest weight; CoreNet's default is 1e-4.</param>
    /// <exception cref="OpenElmException">The momentum is not in (0, 1].</exception>
    public ExponentialMovingAverage(IEnumerable<(string Name, Tensor Tensor)> weights, double momentum = 1e-4)
    {
        if (momentum is not (> 0 and <= 1))
        {
            throw new OpenElmException($"The momentum of the moving average is {momentum}; it must be in (0, 1].");
        }

        _momentum = momentum;
        using var noGrad = no_grad();
        _entries = [.. weights.Select(weight => (weight.Name, weight.Tensor, weight.Tensor.detach().to(ScalarType.Float32, copy: true).DetachFromDisposeScope()))];
    }

    /// <summary>Takes the present weights in.</summary>
    public void Update()
    {
        using DisposeScope scope = NewDisposeScope();
        using var noGrad = no_grad();
        foreach ((_, Tensor weight, Tensor average) in _entries)
        {
            average.lerp_(weight.to_type(ScalarType.Float32), _momentum);
        }
    }

    /// <summary>Lists the averaged weights for a file writer, under the weights' names.</summary>
    /// <returns>The tensors, read when the writer asks.</returns>
    public IReadOnlyList<TensorSource> ToSources() => [.. _entries.Select(entry => WeightTransfer.ToSource(entry.Name, entry.Average))];

    /// <summary>Takes over averages written before.</summary>
    /// <param name="stored">The tensors by the weights' names.</param>
    /// <exception cref="OpenElmException">Tensors are missing or have other shapes.</exception>
    public void Load(IReadOnlyDictionary<string, TensorView> stored) =>
        WeightTransfer.Load([.. _entries.Select(entry => (entry.Name, entry.Average))], stored, "The stored moving average does not fit the model");

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach ((_, _, Tensor average) in _entries)
        {
            average.Dispose();
        }
    }
}
