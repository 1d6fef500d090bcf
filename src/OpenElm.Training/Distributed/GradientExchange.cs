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
    readonly Queue<(int Unit, Tensor? Bucket, Tensor Part, IExchange Exchange)> _parts = new();
    readonly List<IExchange> _sums = [];
    readonly int _layers = units.Count(unit => unit.Unit.Layer is not null);
    bool _isLastPass, _isDirect, _areFixed;
    int _next; // layers are complete from the last to the first, then the root

    /// <summary>Has passes write gradients into buckets that stay; divided layers may share theirs in turns of <see cref="MostUnderWay"/>.</summary>
    /// <param name="buckets">One for each unit; taken over.</param>
    public void Fix(IReadOnlyList<Tensor> buckets)
    {
        for (int i = 0; i < units.Count; i++)
        {
            _buckets[i]?.Dispose();
            _buckets[i] = buckets[i];
        }

        _areFixed = true;
    }

    /// <summary>A pass begins.</summary>
    /// <param name="isLast">Whether it is the last of the update on this rank.</param>
    /// <param name="isDirect">Whether it writes gradients into the buckets itself; else they are the weights' own.</param>
    public void BeginPass(bool isLast, bool isDirect)
    {
        (_isLastPass, _isDirect, _next) = (isLast, isDirect, _layers - 1);
        if (isDirect)
        {
            LeaveUnderWay(0); // the head's gradient is written first
        }
    }

    /// <summary>A layer is about to be differentiated: waits until its bucket is free.</summary>
    public void MakeRoom() => LeaveUnderWay(MostUnderWay - 1);

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
        LeaveUnderWay(0);

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
            LeaveUnderWay(MostUnderWay - 1);
            Tensor bucket = _areFixed ? _buckets[index]! : zeros(unit.Unit.Length, ScalarType.Float32, unit.Master.device).DetachFromDisposeScope();
            Tensor part = empty(unit.Length, ScalarType.Float32, unit.Master.device).DetachFromDisposeScope();
            Collect(unit, bucket, adds: false);
            _parts.Enqueue((index, _areFixed ? null : bucket, part, collectives.ReduceScatter(bucket, part)));
            return;
        }

        Tensor whole = _buckets[index] ??= NewBucket(unit);
        Collect(unit, whole, adds: _isFilled[index]);
        _isFilled[index] = true;
        if (_isLastPass)
        {
            _sums.Add(unit.Level == Sharding.None ? collectives.AllReduce(whole) : collectives.ReduceScatter(whole, unit.Gradients));
        }
    }

    /// <summary>Memory for the gradients of a unit that stay from pass to pass.</summary>
    /// <param name="unit">The unit.</param>
    public static Tensor NewBucket(UnitState unit) => unit.Level == Sharding.None
        ? unit.Gradients.alias().DetachFromDisposeScope()
        : zeros(unit.Unit.Length, ScalarType.Float32, unit.Master.device).DetachFromDisposeScope();

    void LeaveUnderWay(int exchanges)
    {
        while (_parts.Count > exchanges)
        {
            Fold();
        }
    }

    void Fold()
    {
        (int index, Tensor? bucket, Tensor part, IExchange exchange) = _parts.Dequeue();
        exchange.Wait();
        using var noGrad = no_grad();
        _ = _isAdded[index] ? units[index].Gradients.Add(part) : units[index].Gradients.copy_(part);
        _isAdded[index] = true;
        bucket?.Dispose();
        part.Dispose();
    }

    void Collect(UnitState unit, Tensor bucket, bool adds)
    {
        if (_isDirect)
        {
            return;
        }

        foreach (FlatPiece piece in unit.Unit.Pieces)
        {
            using Tensor place = piece.ViewOf(bucket);
            using Tensor? gradient = piece.Weight.Value.grad;
            _ = (gradient, adds) switch
            {
                (null, true) => place,
                (null, false) => place.zero_(),
                (_, true) => place.Add(gradient),
                _ => place.copy_(gradient),
            };
            piece.Weight.Value.grad = null;
        }
    }
}
