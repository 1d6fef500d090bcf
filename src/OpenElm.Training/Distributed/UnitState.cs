using System.Collections.Immutable;
using OpenElm.Distributed;
using OpenElm.Training.Torch;
using TorchSharp;
using static TorchSharp.torch;

namespace OpenElm.Training.Distributed;

/// <summary>A part of one weight that this rank updates: views of the unit's memory.</summary>
/// <param name="Piece">The weight.</param>
/// <param name="Start">Where the part begins in the rank's range.</param>
/// <param name="Master">[n] single precision.</param>
/// <param name="Gradient">[n] single precision.</param>
/// <param name="Average">[n].</param>
/// <param name="SquareAverage">[n].</param>
/// <param name="Step">[]: updates made.</param>
internal sealed record UnitSlot(FlatPiece Piece, long Start, Tensor Master, Tensor Gradient, Tensor Average, Tensor SquareAverage, Tensor Step);

/// <summary>
/// What a rank holds of a <see cref="FlatUnit"/>. The weights of the model are views of <see cref="Full"/>; the optimizer works on a range of the unit: all
/// of it without sharding, else this rank's part.
/// </summary>
internal sealed class UnitState : IDisposable
{
    readonly FlatUnit _unit;
    readonly int _rank;
    readonly Device _device;
    readonly ScalarType _type;
    readonly Tensor _nothing;
    readonly Tensor? _part;         // the weights of this rank, where the others have theirs alone
    IExchange? _gathering;

    /// <param name="unit">The unit.</param>
    /// <param name="rank">This rank.</param>
    /// <param name="level">What is divided.</param>
    /// <param name="keepsAverage">Whether a moving average of the weights is kept.</param>
    public UnitState(FlatUnit unit, int rank, Sharding level, bool keepsAverage)
    {
        (_unit, _rank) = (unit, rank);
        using DisposeScope scope = NewDisposeScope();
        using var noGrad = no_grad();
        Tensor first = unit.Pieces[0].Weight.Value;
        (_device, _type) = (first.device, first.dtype);
        Level = unit.Layer is null && level == Sharding.Parameters ? Sharding.Gradients : level; // the root is at work from the first layer to the last
        _nothing = Keep(empty(0, _type, _device));
        Full = Zeros(unit.Length, _type);
        foreach (FlatPiece piece in unit.Pieces)
        {
            using Tensor view = piece.ViewOf(Full);
            view.copy_(piece.Weight.Value);
        }

        (Begin, Length) = Level == Sharding.None ? (0, unit.Length) : (rank * unit.PartLength, unit.PartLength);
        bool isDivided = Level == Sharding.Parameters;
        _part = isDivided ? Keep(Full.narrow(0, Begin, Length).clone()) : null;
        Rounded = _type == ScalarType.Float32 ? null : _part ?? Keep(Full.narrow(0, Begin, Length));
        Master = Rounded is { } rounded ? Keep(rounded.to_type(ScalarType.Float32)) : _part ?? Keep(Full.narrow(0, Begin, Length));
        Average = Zeros(Length, ScalarType.Float32);
        SquareAverage = Zeros(Length, ScalarType.Float32);
        MovingAverage = keepsAverage ? Keep(Master.clone()) : null;
        Gradients = Zeros(Length, ScalarType.Float32);
        Slots = [.. unit.Within(Begin, Length).Select(part => new UnitSlot(
            part.Piece, part.Start, View(Master, part), View(Gradients, part), View(Average, part), View(SquareAverage, part), Keep(zeros([], ScalarType.Float32, _device))))];
        if (isDivided)
        {
            Release();
        }
        else
        {
            PointWeights();
        }
    }

    public FlatUnit Unit => _unit;

    /// <summary>What is divided of this unit.</summary>
    public Sharding Level { get; }

    /// <summary>First element of the range that the optimizer works on.</summary>
    public long Begin { get; }

    /// <summary>Its elements.</summary>
    public long Length { get; }

    /// <summary>[unit's length] the weights; null while they are divided.</summary>
    public Tensor? Full { get; private set; }

    /// <summary>Memory that <see cref="Full"/> is always put into, where the weights are divided and kernels know the place; null for any.</summary>
    public Tensor? Room { get; set; }

    /// <summary>[length] the range's weights in single precision.</summary>
    public Tensor Master { get; }

    /// <summary>[length] the range's weights in their own type; null where that is single precision.</summary>
    public Tensor? Rounded { get; }

    /// <summary>[length] the range's gradients, summed over passes and ranks.</summary>
    public Tensor Gradients { get; }

    public Tensor Average { get; }

    public Tensor SquareAverage { get; }

    public Tensor? MovingAverage { get; }

    public ImmutableArray<UnitSlot> Slots { get; }

    /// <summary>Bytes of device memory that it holds for good.</summary>
    public long Bytes => (Full is null ? Length * Element(_type) : _unit.Length * Element(_type))
        + (4 * Length * (3 + (Rounded is null ? 0 : 1) + (MovingAverage is null ? 0 : 1)));

    /// <summary>Starts to put the weights together, unless that has begun.</summary>
    /// <param name="collectives">The ranks.</param>
    public void StartGather(TensorCollectives collectives)
    {
        if (Full is not null || _gathering is not null)
        {
            return;
        }

        using DisposeScope scope = NewDisposeScope();
        using var noGrad = no_grad();
        Full = (Room?.narrow(0, 0, _unit.Length) ?? empty(_unit.Length, _type, _device)).DetachFromDisposeScope();
        Full.narrow(0, Begin, Length).copy_(_part!);
        _gathering = collectives.AllGather(Full);
    }

    /// <summary>Starts to tell the others the updated range.</summary>
    /// <param name="collectives">The ranks.</param>
    public void StartPublish(TensorCollectives collectives)
    {
        if (Level is Sharding.Optimizer or Sharding.Gradients)
        {
            _gathering = collectives.AllGather(Full!);
        }
    }

    /// <summary>Waits until all weights are there.</summary>
    public void FinishGather()
    {
        if (_gathering is { } gathering)
        {
            _gathering = null;
            gathering.Wait();
            if (_part is not null)
            {
                PointWeights();
            }
        }
    }

    /// <summary>Drops the weights of the other ranks, where they are divided.</summary>
    public void Release()
    {
        if (_part is null || Full is null)
        {
            return;
        }

        FinishGather();
        using var noGrad = no_grad();
        foreach (FlatPiece piece in _unit.Pieces)
        {
            Dispatcher.SetData(piece.Weight.Value, _nothing);
        }

        Full.Dispose();
        Full = null;
    }

    /// <summary>Takes the range over from the whole weights, after they were loaded.</summary>
    public void AdoptFull()
    {
        using DisposeScope scope = NewDisposeScope();
        using var noGrad = no_grad();
        Tensor range = Full!.narrow(0, Begin, Length);
        _part?.copy_(range);
        if (Rounded is not null)
        {
            Master.copy_(range);
        }
    }

    /// <summary>Points the weights to their place in <see cref="Room"/>, whatever is there.</summary>
    public void PointToRoom()
    {
        using var noGrad = no_grad();
        Full = Room!.narrow(0, 0, _unit.Length).DetachFromDisposeScope();
        PointWeights();
    }

    /// <summary>Memory for all weights at once, to load them into.</summary>
    public void MakeRoom()
    {
        FinishGather();
        if (Full is null)
        {
            Full = zeros(_unit.Length, _type, _device).DetachFromDisposeScope();
            PointWeights();
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        FinishGather();
        foreach (Tensor? tensor in new[] { Full, _part, Rounded, Master, Gradients, Average, SquareAverage, MovingAverage, _nothing }
            .Concat(Slots.SelectMany(slot => new[] { slot.Master, slot.Gradient, slot.Average, slot.SquareAverage, slot.Step })))
        {
            tensor?.Dispose();
        }
    }

    void PointWeights()
    {
        using var noGrad = no_grad();
        foreach (FlatPiece piece in _unit.Pieces)
        {
            using Tensor view = piece.ViewOf(Full!);
            Dispatcher.SetData(piece.Weight.Value, view);
        }
    }

    Tensor Zeros(long length, ScalarType type) => Keep(zeros(length, type, _device));

    static Tensor View(Tensor range, (FlatPiece Piece, long Start, long Count) part) => Keep(range.narrow(0, part.Start, part.Count));

    static Tensor Keep(Tensor tensor) => tensor.DetachFromDisposeScope();

    static int Element(ScalarType type) => (int)type.ElementSize();
}
