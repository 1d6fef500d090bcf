using System.Collections.Immutable;
using OpenElm.Checkpoints;
using OpenElm.Distributed;
using TorchSharp;
using static TorchSharp.torch;

namespace OpenElm.Training.Distributed;

/// <summary>
/// Checkpoints of a job: the files are those of a process that is alone, so any number of ranks goes on from them. The first rank writes; what it asks for
/// the others help to put together, one unit at a time.
/// </summary>
/// <param name="group">The ranks.</param>
/// <param name="training">What they hold.</param>
internal sealed class ShardedState(IProcessGroup group, ShardedTraining training)
{
    const string Average = "exp_avg.", SquareAverage = "exp_avg_sq.", Step = "step.", Master = "master.";
    const int Done = -1;

    enum Kind
    {
        Weights,
        Average,
        SquareAverage,
        MovingAverage,
    }

    (Kind Kind, int Unit, Tensor Whole)? _last;

    /// <summary>Lets the first rank write while the others serve it.</summary>
    /// <param name="write">Writes; reads the tensors that this object lists.</param>
    public void Write(Action write)
    {
        TimeSpan patience = group.Patience;
        group.Patience = Timeout.InfiniteTimeSpan; // disks are slow
        training.FinishGathers();
        if (group.Rank == 0)
        {
            write();
            _ = Ask(Done, Done);
        }
        else
        {
            while (Ask(0, 0) is (not Done, _) asked)
            {
                Gather((Kind)asked.Kind, asked.Unit).Dispose();
            }
        }

        _last?.Whole.Dispose();
        _last = null;
        group.Barrier();
        group.Patience = patience;
    }

    /// <summary>The trained weights in single precision, under their names.</summary>
    /// <param name="order">Names in the wanted order.</param>
    public IReadOnlyList<TensorSource> Weights(IEnumerable<string> order) => Sources(Kind.Weights, "", order);

    /// <summary>The moving average of the weights.</summary>
    /// <param name="order">Names in the wanted order.</param>
    public IReadOnlyList<TensorSource> MovingAverages(IEnumerable<string> order) => Sources(Kind.MovingAverage, "", order);

    /// <summary>AdamW's state as <see cref="Optimization.AdamW.ExportState"/> lists it.</summary>
    /// <param name="order">Names in the wanted order.</param>
    /// <param name="steps">Updates made.</param>
    public IReadOnlyList<TensorSource> Optimizer(IReadOnlyList<string> order, long steps) =>
    [
        .. Sources(Kind.Average, Average, order),
        .. Sources(Kind.SquareAverage, SquareAverage, order),
        .. order.Select(name => new TensorSource(Step + name, DType.F32, [], stream => stream.Write(BitConverter.GetBytes((float)steps)))),
        .. training.Units[0].Rounded is null ? [] : Sources(Kind.Weights, Master, order),
    ];

    /// <summary>Reads AdamW's state.</summary>
    /// <param name="stored">The tensors by name.</param>
    /// <exception cref="OpenElmException">Tensors are missing or have other shapes.</exception>
    public void LoadOptimizer(IReadOnlyDictionary<string, TensorView> stored)
    {
        RequireFit(stored, [Average, SquareAverage, .. training.Units[0].Rounded is null ? Array.Empty<string>() : [Master]], "The stored optimizer state does not fit the model");
        using var noGrad = no_grad();
        foreach (UnitState unit in training.Units)
        {
            foreach (UnitSlot slot in unit.Slots)
            {
                string name = slot.Piece.Weight.Name;
                Load(stored[Average + name], slot, unit, slot.Average);
                Load(stored[SquareAverage + name], slot, unit, slot.SquareAverage);
                using Tensor step = WeightTransfer.ToTensor(stored[Step + name]);
                slot.Step.copy_(step);
                if (unit.Rounded is not null)
                {
                    Load(stored[Master + name], slot, unit, slot.Master);
                }
            }
        }
    }

    /// <summary>Reads the moving average of the weights.</summary>
    /// <param name="stored">The tensors by name.</param>
    /// <exception cref="OpenElmException">Tensors are missing or have other shapes.</exception>
    public void LoadMovingAverage(IReadOnlyDictionary<string, TensorView> stored)
    {
        RequireFit(stored, [""], "The stored moving average does not fit the model");
        using var noGrad = no_grad();
        foreach (UnitState unit in training.Units)
        {
            foreach (UnitSlot slot in unit.Slots)
            {
                using Tensor range = unit.MovingAverage!.narrow(0, slot.Start, slot.Master.numel());
                Load(stored[slot.Piece.Weight.Name], slot, unit, range);
            }
        }
    }

    /// <summary>Sets the weights by something that needs all of them at once.</summary>
    /// <param name="load">Fills the model's weights.</param>
    public void LoadWeights(Action load)
    {
        foreach (UnitState unit in training.Units)
        {
            unit.MakeRoom();
        }

        load();
        foreach (UnitState unit in training.Units)
        {
            unit.AdoptFull();
            unit.Release();
        }
    }

    void RequireFit(IReadOnlyDictionary<string, TensorView> stored, string[] prefixes, string failure) => WeightTransfer.RequireFit(
        training.Units.SelectMany(unit => unit.Unit.Pieces).SelectMany(piece => prefixes.Select(prefix => (prefix + piece.Weight.Name, piece.Shape.ToArray()))),
        name => stored.TryGetValue(name, out TensorView view) ? view.Shape : default, failure);

    static void Load(TensorView stored, UnitSlot slot, UnitState unit, Tensor range)
    {
        using Tensor whole = WeightTransfer.ToTensor(stored);
        using Tensor flat = whole.view(-1);
        using Tensor part = flat.narrow(0, unit.Begin + slot.Start - slot.Piece.Offset, slot.Master.numel());
        range.copy_(part);
    }

    ImmutableArray<TensorSource> Sources(Kind kind, string prefix, IEnumerable<string> order)
    {
        var places = training.Units.SelectMany((unit, i) => unit.Unit.Pieces.Select(piece => (piece.Weight.Name, Unit: i, Piece: piece))).ToDictionary(place => place.Name);
        return [.. order.Select(name => new TensorSource(prefix + name, DType.F32, places[name].Piece.Shape, stream =>
        {
            using Tensor view = places[name].Piece.ViewOf(Fetch(kind, places[name].Unit));
            WeightTransfer.ToSource(name, view).Write(stream);
        }))];
    }

    // On the first rank; neighbours ask for the same unit one after the other.
    Tensor Fetch(Kind kind, int unit)
    {
        if (_last is not { } last || last.Kind != kind || last.Unit != unit)
        {
            _last?.Whole.Dispose();
            _ = Ask((int)kind, unit);
            _last = last = (kind, unit, Gather(kind, unit));
        }

        return last.Whole;
    }

    (int Kind, int Unit) Ask(int kind, int unit) => group.AllGather([kind, unit]) is [var askedKind, var askedUnit, ..] ? (askedKind, askedUnit) : default;

    // [unit's length] on the CPU.
    Tensor Gather(Kind kind, int number)
    {
        using DisposeScope scope = NewDisposeScope();
        using var noGrad = no_grad();
        UnitState unit = training.Units[number];
        Tensor range = kind switch
        {
            Kind.Weights => unit.Master,
            Kind.Average => unit.Average,
            Kind.SquareAverage => unit.SquareAverage,
            _ => unit.MovingAverage!,
        };
        if (unit.Level == Sharding.None)
        {
            return range.to(CPU, copy: true).MoveToOuterDisposeScope();
        }

        Tensor whole = zeros(unit.Unit.Length, ScalarType.Float32, range.device);
        whole.narrow(0, unit.Begin, unit.Length).copy_(range);
        training.Collectives.AllGather(whole).Wait();
        return whole.cpu().DetachFromDisposeScope();
    }
}
