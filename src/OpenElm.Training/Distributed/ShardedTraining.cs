using System.Collections.Immutable;
using OpenElm.Distributed;
using OpenElm.Training.Gpu;
using OpenElm.Training.Optimization;
using OpenElm.Training.Torch;
using TorchSharp;
using static TorchSharp.torch;

namespace OpenElm.Training.Distributed;

/// <summary>
/// Weights, gradients and AdamW's state of a model over the ranks of a job: what <see cref="AdamW"/> and <see cref="GradientClipping"/> are for a process that
/// is alone (docs/distributed.md).
/// </summary>
internal sealed class ShardedTraining : ILayerWatch, IDisposable
{
    readonly IProcessGroup _group;
    readonly OpenElmModule _module;
    readonly AdamWOptions _options;
    readonly double _momentum;
    readonly TensorCollectives _collectives;
    readonly ImmutableArray<UnitState> _units;
    readonly Dictionary<int, int> _unitOfLayer = [];
    readonly GradientExchange _gradients;
    Tensor[] _rooms = [];
    bool _trains; // inside of a pass that has a backward part

    /// <summary>Takes a model's trained weights over.</summary>
    /// <param name="group">The ranks.</param>
    /// <param name="module">The model; its weights become views of other memory.</param>
    /// <param name="level">What is divided.</param>
    /// <param name="options">AdamW.</param>
    /// <param name="momentum">Of the moving average; 0 keeps none.</param>
    /// <param name="collectives">Exchanges between the ranks' devices; taken over.</param>
    public ShardedTraining(IProcessGroup group, OpenElmModule module, Sharding level, AdamWOptions options, double momentum, TensorCollectives collectives)
    {
        (_group, _module, _options, _momentum, _collectives) = (group, module, options, momentum, collectives);
        ImmutableArray<FlatUnit> units = FlatUnit.Of(module.Trainable, group.Size);
        _units = [.. units.Select(unit => new UnitState(unit, group.Rank, level, momentum > 0))];
        for (int i = 0; i < _units.Length; i++)
        {
            if (units[i].Layer is { } layer)
            {
                _unitOfLayer[layer] = i;
            }
        }

        _gradients = new GradientExchange(_units, collectives);
        module.Watch = this;
    }

    /// <summary>The units, in the order of the forward pass.</summary>
    public ImmutableArray<UnitState> Units => _units;

    /// <summary>Exchanges between the ranks' devices.</summary>
    public TensorCollectives Collectives => _collectives;

    /// <summary>A pass over a micro-batch begins.</summary>
    /// <param name="isLast">Whether it is the last of the update on this rank.</param>
    /// <param name="isDirect">Whether it writes gradients where <see cref="PlaceGradients"/> says; else they are the weights' own.</param>
    public void BeginPass(bool isLast, bool isDirect)
    {
        _trains = true;
        _gradients.BeginPass(isLast, isDirect);
    }

    /// <summary>Whether gradients leave this rank with every micro-batch, instead of being added up here.</summary>
    public bool DividesGradients => _units[0].Level >= Sharding.Gradients;

    /// <summary>Fixes the places of gradients, and of weights that come and go, for passes that know addresses. Divided layers take turns in two of each.</summary>
    /// <returns>A gradient for each weight of the model, single precision, in its order.</returns>
    public ImmutableArray<DeviceBuffer> PlaceGradients()
    {
        using var noGrad = no_grad();
        Tensor example = _units[0].Master;
        long longest = _units.Where(unit => unit.Unit.Layer is not null).Max(unit => unit.Unit.Length);
        Tensor[] Two(ScalarType type) => [.. Enumerable.Range(0, 2).Select(_ => zeros(longest, type, example.device).DetachFromDisposeScope())];

        Tensor[] shared = DividesGradients ? Two(ScalarType.Float32) : [];
        Tensor[] buckets = [.. _units.Select((unit, i) => shared is [] || unit.Unit.Layer is null
            ? GradientExchange.NewBucket(unit) : shared[i % 2].narrow(0, 0, unit.Unit.Length).DetachFromDisposeScope())];
        Array.ForEach(shared, tensor => tensor.Dispose()); // their parts keep the memory
        _gradients.Fix(buckets);
        if (_units[0].Level == Sharding.Parameters)
        {
            _rooms = Two((_units[0].Rounded ?? example).dtype);
            Array.ForEach(_rooms, room => room.normal_(0, 0.02)); // products are timed on them
            for (int i = 0; i < _units.Length; i++)
            {
                if (_units[i].Level == Sharding.Parameters)
                {
                    _units[i].Room = _rooms[i % 2];
                    _units[i].PointToRoom();
                }
            }
        }

        var places = _units.SelectMany((unit, i) => unit.Unit.Pieces.Select(piece => (piece, bucket: buckets[i]))).ToDictionary(place => place.piece.Weight.Name);
        return [.. _module.Weights.Select(weight => new DeviceBuffer(places[weight.Name].piece.ViewOf(places[weight.Name].bucket)))];
    }

    /// <summary>The ranges that this rank updates, as the GPU's AdamW takes them.</summary>
    public IReadOnlyList<GpuSlot> GpuSlots() =>
    [
        .. _units.SelectMany(unit => unit.Slots.Select(slot => new GpuSlot(
            unit.Rounded is { } rounded ? Dispatcher.DataPointer(rounded) + (nint)(slot.Start * rounded.element_size()) : 0,
            Dispatcher.DataPointer(slot.Master), Dispatcher.DataPointer(slot.Average), Dispatcher.DataPointer(slot.SquareAverage), Dispatcher.DataPointer(slot.Gradient),
            Dispatcher.DataPointer(slot.Step), slot.Master.numel(), slot.Piece.Decays))),
    ];

    /// <summary>Waits for all gradients, and for the weights of the last update.</summary>
    public void FinishGradients()
    {
        _gradients.Finish();
        FinishGathers();
    }

    /// <summary>Adds up squares of gradients over the ranks; null where every rank has all gradients.</summary>
    public Action<Tensor>? SumSquares => _units[0].Level == Sharding.None ? null : squares => _collectives.AllReduce(squares).Wait();

    /// <summary>Drops the weights of other ranks.</summary>
    public void ReleaseAll()
    {
        foreach (UnitState unit in _units)
        {
            unit.Release();
        }
    }

    /// <summary>The pass is done, or this rank had nothing to pass over the model.</summary>
    public void EndPass()
    {
        _gradients.EndPass();
        ReleaseAll();
        _trains = false;
    }

    /// <summary>Clips the gradients, updates this rank's ranges, and starts to tell the others.</summary>
    /// <param name="learningRate">The learning rate.</param>
    /// <param name="maxNorm">The bound of the norm of all gradients; infinity does not clip.</param>
    /// <returns>[] the norm before clipping, the same on all ranks; to be disposed.</returns>
    public Tensor Update(double learningRate, double maxNorm)
    {
        using DisposeScope scope = NewDisposeScope();
        using var noGrad = no_grad();
        FinishGradients();
        Tensor norm = NormOfAll();
        if (double.IsFinite(maxNorm))
        {
            Dispatcher.ForeachMultiply([.. _units.Select(unit => unit.Gradients)], GradientClipping.Factor(norm, maxNorm));
        }

        foreach (IGrouping<bool, UnitSlot> group in _units.SelectMany(unit => unit.Slots).GroupBy(slot => slot.Piece.Decays))
        {
            UnitSlot[] slots = [.. group];
            Array.ForEach(slots, slot => slot.Step.Add(One));
            Dispatcher.FusedAdamW(
                [.. slots.Select(slot => slot.Master)], [.. slots.Select(slot => slot.Gradient)], [.. slots.Select(slot => slot.Average)], [.. slots.Select(slot => slot.SquareAverage)],
                [.. slots.Select(slot => slot.Step)], learningRate, _options.Beta1, _options.Beta2, group.Key ? _options.WeightDecay : 0, _options.Eps);
        }

        foreach (UnitState unit in _units)
        {
            unit.Rounded?.copy_(unit.Master);
        }

        Publish();
        return norm.MoveToOuterDisposeScope();
    }

    /// <summary>After the ranges were updated: moving averages, and the others' ranges.</summary>
    public void Publish()
    {
        using DisposeScope scope = NewDisposeScope();
        using var noGrad = no_grad();
        foreach (UnitState unit in _units.OrderBy(unit => unit.Unit.Layer ?? -1)) // in the order in which the next pass needs them
        {
            unit.MovingAverage?.lerp_(unit.Master, _momentum);
            unit.StartPublish(_collectives);
        }
    }

    /// <summary>Waits until the weights are as the last update left them, on every rank.</summary>
    public void FinishGathers()
    {
        foreach (UnitState unit in _units)
        {
            unit.FinishGather();
        }
    }

    /// <inheritdoc/>
    public void BeforeModel()
    {
        for (int root = _unitOfLayer.Count; root < _units.Length; root++)
        {
            _units[root].FinishGather();
        }
    }

    /// <inheritdoc/>
    public void BeforeForward(int layer) => Fetch(layer, next: layer + 1);

    /// <inheritdoc/>
    public void AfterForward(int layer)
    {
        // The backward pass begins with the last one.
        if (!(_trains && layer == _module.Config.NumTransformerLayers - 1) && _unitOfLayer.TryGetValue(layer, out int unit))
        {
            _units[unit].Release();
        }
    }

    /// <inheritdoc/>
    public void BeforeBackward(int layer)
    {
        _gradients.MakeRoom();
        Fetch(layer, next: layer - 1);
    }

    /// <inheritdoc/>
    public void AfterBackward(int layer)
    {
        if (_unitOfLayer.TryGetValue(layer, out int unit))
        {
            _gradients.Complete(unit);
            _units[unit].Release();
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _module.Watch = null;
        _gradients.Dispose();
        Array.ForEach(_rooms, room => room.Dispose());
        foreach (UnitState unit in _units)
        {
            unit.Dispose();
        }

        _collectives.Dispose();
    }

    // While a layer is computed, the next one's weights travel.
    void Fetch(int layer, int next)
    {
        foreach (int wanted in new[] { layer, next })
        {
            if (_unitOfLayer.TryGetValue(wanted, out int unit))
            {
                _units[unit].StartGather(_collectives);
            }
        }

        if (_unitOfLayer.TryGetValue(layer, out int own))
        {
            _units[own].FinishGather();
        }
    }

    Tensor NormOfAll()
    {
        Tensor norm = linalg.vector_norm(stack(_units.Select(unit => linalg.vector_norm(unit.Gradients))));
        if (SumSquares is not { } sumOverRanks)
        {
            return norm;
        }

        Tensor squares = norm.square().view(1);
        sumOverRanks(squares);
        return squares.sqrt().view([]);
    }
}
