using OpenElm.Distributed;
using TorchSharp;
using static TorchSharp.torch;

namespace OpenElm.Training.Distributed;

/// <summary>
/// The gradients of one update on their way from the backward passes of all ranks to the ranges that the ranks update. A unit's gradients are in single
/// precision in one bucket; where they are not divided, they stay in it from pass to pass and travel once, with the last.
/// </summary>
/// <param name="units">The units, in the order of the forward pass.</param>
/// <param name="collectives">The ranks.</param>
internal sealed class GradientExchange(IReadOnlyList<UnitState> units, TensorCollectives collectives) : IDisposable
{
    const int MostUnderWay = 2; // buckets of divided gradients that exist at once

    readonly Tensor?[] _buckets = new Tensor?[units.Count];
    readonly bool[] _isFilled = new bool[units.Count], _isAdded = new bool[units.Count]; // in this update: the bucket, the range
    readonly Queue<(int Unit, Tensor Bucket, Tensor Part, IExchange Exchange)> _parts = new();
    readonly List<IExchange> _sums = [];
    readonly int _layers = units.Count(unit => unit.Unit.Layer is not null);
    bool _isLastPass;
    int _next; // layers are complete from the last to the first, then the root

    /// <summary>A pass begins.</summary>
    /// <param name="isLast">Whether it is the last of the update on this rank.</param>
    public void BeginPass(bool isLast) => (_isLastPass, _next) = (isLast, _layers - 1);

    /// <summary>The gradients of a layer's weights are complete for this pass: takes them, and those of the layers behind it.</summary>
    /// <param name="unit">Which unit.</param>
    public void Complete(int unit)
    {
        while (_next >= unit)
        {
            Take(_next--);
        }
    }

    /// <summary>A pass is done: takes what is left. So every rank takes the units in the same order, whatever its pass reached.</summary>
    public void EndPass()
    {
        Complete(0);
        for (int root = _layers; root < units.Count; root++)
        {
            Take(root);
        }
    }

    /// <summary>Waits until every range has its sums.</summary>
    public void Finish()
    {
        _sums.ForEach(sum => sum.Wait());
        _sums.Clear();
        while (_parts.Count > 0)
        {
            Fold();
        }

        Array.Clear(_isFilled);
        Array.Clear(_isAdded);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Finish();
        foreach (Tensor? bucket in _buckets)
        {
            bucket?.Dispose();
        }
    }

    void Take(int index)
    {
        UnitState unit = units[index];
        using DisposeScope scope = NewDisposeScope();
        using var noGrad = no_grad();
        if (unit.Level >= Sharding.Gradients)
        {
            while (_parts.Count >= MostUnderWay)
            {
                Fold();
            }

            Tensor bucket = zeros(unit.Unit.Length, ScalarType.Float32, unit.Master.device).DetachFromDisposeScope();
            Tensor part = empty(unit.Length, ScalarType.Float32, unit.Master.device).DetachFromDisposeScope();
            Collect(unit, bucket, adds: false);
            _parts.Enqueue((index, bucket, part, collectives.ReduceScatter(bucket, part)));
            return;
        }

        Tensor whole = _buckets[index] ??= unit.Level == Sharding.None ? unit.Gradients.alias().DetachFromDisposeScope()
            : zeros(unit.Unit.Length, ScalarType.Float32, unit.Master.device).DetachFromDisposeScope();
        Collect(unit, whole, adds: _isFilled[index]);
        _isFilled[index] = true;
        if (_isLastPass)
        {
            _sums.Add(unit.Level == Sharding.None ? collectives.AllReduce(whole) : collectives.ReduceScatter(whole, unit.Gradients));
        }
    }

    void Fold()
    {
        (int index, Tensor bucket, Tensor part, IExchange exchange) = _parts.Dequeue();
        exchange.Wait();
        using var noGrad = no_grad();
        _ = _isAdded[index] ? units[index].Gradients.add_(part) : units[index].Gradients.copy_(part);
        _isAdded[index] = true;
        bucket.Dispose();
        part.Dispose();
    }

    static void Collect(UnitState unit, Tensor bucket, bool adds)
    {
        foreach (FlatPiece piece in unit.Unit.Pieces)
        {
            using Tensor place = piece.ViewOf(bucket);
            using Tensor? gradient = piece.Weight.Value.grad;
            _ = (gradient, adds) switch
            {
                (null, true) => place,
                (null, false) => place.zero_(),
                (_, true) => place.add_(gradient),
                _ => place.copy_(gradient),
            };
            piece.Weight.Value.grad = null;
        }
    }
}
