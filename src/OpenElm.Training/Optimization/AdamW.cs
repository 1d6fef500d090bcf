using System.Collections.Immutable;
using OpenElm.Checkpoints;
using OpenElm.Training.Torch;
using TorchSharp;
using static TorchSharp.torch;

namespace OpenElm.Training.Optimization;

/// <summary>Settings of AdamW; the defaults are OpenELM's (section 4.2 of the reference).</summary>
public sealed record AdamWOptions
{
    /// <summary>Decay of the first moment.</summary>
    public double Beta1 { get; init; } = 0.9;

    /// <summary>Decay of the second moment.</summary>
    public double Beta2 { get; init; } = 0.95;

    /// <summary>ε of the denominator.</summary>
    public double Eps { get; init; } = 1e-8;

    /// <summary>Decoupled weight decay of weights with two or more dimensions; norms have none.</summary>
    public double WeightDecay { get; init; } = 0.1;

    /// <summary>Adds one sentence for each impossible field.</summary>
    /// <param name="problems">The list to add to.</param>
    public void Validate(List<string> problems)
    {
        ArgumentNullException.ThrowIfNull(problems);
        foreach ((string name, double beta) in new[] { ("first", Beta1), ("second", Beta2) })
        {
            if (beta is not (>= 0 and < 1))
            {
                problems.Add($"the {name} beta of AdamW is {beta}; it must be in [0, 1)");
            }
        }

        if (!(Eps > 0) || !double.IsFinite(Eps))
        {
            problems.Add($"the epsilon of AdamW is {Eps}; it must be above 0");
        }

        if (!(WeightDecay >= 0) || !double.IsFinite(WeightDecay))
        {
            problems.Add($"the weight decay is {WeightDecay}; it must be 0 or more");
        }
    }
}

/// <summary>
/// AdamW in one native call for each group of weights in single precision. Weights that are not in single precision get a single-precision master copy,
/// which is what is updated; the weight is its rounding.
/// </summary>
public sealed class AdamW : IDisposable
{
    /// <summary>Prefixes of the state's tensor names.</summary>
    const string Average = "exp_avg.", SquareAverage = "exp_avg_sq.", Step_ = "step.", Master = "master.";

    readonly AdamWOptions _options;
    readonly ImmutableArray<Slot> _slots;

    internal sealed record Slot(string Name, TorchSharp.Modules.Parameter Weight, Tensor? Master, Tensor Average, Tensor SquareAverage, Tensor Step)
    {
        public Tensor Updated => Master ?? Weight;

        public bool Decays => Weight.dim() >= 2;
    }

    /// <summary>Creates the optimizer with moments of 0.</summary>
    /// <param name="weights">The weights to train.</param>
    /// <param name="options">Its settings.</param>
    public AdamW(IEnumerable<NamedWeight> weights, AdamWOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(weights);
        _options = options ?? new AdamWOptions();
        var problems = new List<string>();
        _options.Validate(problems);
        if (problems is not [])
        {
            throw OpenElmException.Of("Invalid optimizer options", problems);
        }

        using var noGrad = no_grad();
        _slots = [.. weights.Select(weight => NewSlot(weight.Name, weight.Value))];
    }

    /// <summary>Its settings.</summary>
    internal AdamWOptions Options => _options;

    /// <summary>Weights and moments.</summary>
    internal ImmutableArray<Slot> Slots => _slots;

    /// <summary>The learning rate of the next update.</summary>
    public double LearningRate { get; set; }

    /// <summary>Updates every weight that has a gradient.</summary>
    public void Step()
    {
        using DisposeScope scope = NewDisposeScope();
        using var noGrad = no_grad();
        foreach (IGrouping<bool, Slot> group in _slots.Where(slot => slot.Weight.grad is not null).GroupBy(slot => slot.Decays))
        {
            double weightDecay = group.Key ? _options.WeightDecay : 0;
            Update([.. group.Where(slot => slot.Master is null)], weightDecay);
            foreach (Slot slot in group.Where(slot => slot.Master is not null)) // one by one, for their gradients exist in single precision meanwhile
            {
                Update([slot], weightDecay);
                slot.Weight.copy_(slot.Master!);
            }
        }
    }

    void Update(Slot[] slots, double weightDecay)
    {
        if (slots is [])
        {
            return;
        }

        using DisposeScope scope = NewDisposeScope();
        Tensor[] steps = [.. slots.Select(slot => slot.Step)];
        foreach (Tensor step in steps)
        {
            step.Add(One);
        }

        Dispatcher.FusedAdamW(
            [.. slots.Select(slot => slot.Updated)], [.. slots.Select(slot => slot.Weight.grad!.to_type(ScalarType.Float32))],
            [.. slots.Select(slot => slot.Average)], [.. slots.Select(slot => slot.SquareAverage)], steps,
            LearningRate, _options.Beta1, _options.Beta2, weightDecay, _options.Eps);
    }

    /// <summary>Drops all gradients; the next backward pass makes new ones.</summary>
    public void ZeroGrad()
    {
        foreach (Slot slot in _slots)
        {
            slot.Weight.grad?.Dispose();
            slot.Weight.grad = null;
        }
    }

    /// <summary>Lists the state for a file writer: <c>exp_avg.NAME</c>, <c>exp_avg_sq.NAME</c>, <c>step.NAME</c> and, for weights in bfloat16, <c>master.NAME</c>.</summary>
    /// <returns>The tensors, read when the writer asks.</returns>
    public IReadOnlyList<TensorSource> ExportState() =>
        [.. State().Select(entry => WeightTransfer.ToSource(entry.Name, entry.Tensor))];

    /// <summary>Takes over a state written by <see cref="ExportState"/>; the next updates are bit for bit those of the exporter.</summary>
    /// <param name="state">The tensors by name.</param>
    /// <exception cref="OpenElmException">Tensors are missing or have other shapes.</exception>
    public void ImportState(IReadOnlyDictionary<string, TensorView> state)
    {
        ArgumentNullException.ThrowIfNull(state);
        WeightTransfer.Load(State(), state, "The stored optimizer state does not fit the model");
    }

    /// <summary>The single-precision weights: masters where there are some, else the weights themselves.</summary>
    /// <returns>All trained weights under their own names.</returns>
    public IReadOnlyList<(string Name, Tensor Tensor)> MasterWeights() => [.. _slots.Select(slot => (slot.Name, slot.Updated))];

    /// <summary>Sets the masters from the weights; call it after weights were loaded from elsewhere.</summary>
    public void RefreshMasters()
    {
        using var noGrad = no_grad();
        foreach (Slot slot in _slots)
        {
            slot.Master?.copy_(slot.Weight);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach ((_, Tensor tensor) in State())
        {
            tensor.Dispose();
        }
    }

    static Slot NewSlot(string name, TorchSharp.Modules.Parameter weight)
    {
        Tensor Zeros(params long[] shape) => zeros(shape, ScalarType.Float32, weight.device).DetachFromDisposeScope();

        Tensor? master = weight.dtype == ScalarType.Float32 ? null : weight.detach().to_type(ScalarType.Float32).DetachFromDisposeScope();
        return new Slot(name, weight, master, Zeros(weight.shape), Zeros(weight.shape), Zeros());
    }

    IReadOnlyList<(string Name, Tensor Tensor)> State() =>
    [
        .. _slots.Select(slot => (Average + slot.Name, slot.Average)),
        .. _slots.Select(slot => (SquareAverage + slot.Name, slot.SquareAverage)),
        .. _slots.Select(slot => (Step_ + slot.Name, slot.Step)),
        .. _slots.Where(slot => slot.Master is not null).Select(slot => (Master + slot.Name, slot.Master!)),
    ];
}
