using System.Collections;
using System.Collections.Immutable;
using OpenElm.Adapters;
using static TorchSharp.torch;

namespace OpenElm.Training.Adapters;

/// <summary>
/// The adapters of a model in tensors. While there is one, the base weights are frozen: they get no gradients, and the backward pass does not
/// compute any. What several adapters change adds up, each against the frozen base.
/// </summary>
public sealed class AdapterCollection : IReadOnlyCollection<AttachedAdapter>
{
    readonly OpenElmModule _module;
    readonly ImmutableDictionary<string, AdapterSlot> _slots;
    readonly List<AttachedAdapter> _attached = [];
    DropoutKey? _dropout;

    internal AdapterCollection(OpenElmModule module, ImmutableDictionary<string, AdapterSlot> slots) => (_module, _slots) = (module, slots);

    /// <inheritdoc/>
    public int Count => _attached.Count;

    /// <summary>Whether the adapters are folded into copies of the weights.</summary>
    public bool IsMerged { get; private set; }

    /// <summary>
    /// Decides what dropout zeroes; null, as for validation, zeroes nothing. Set it before each forward pass of training and leave it until the backward pass
    /// is done, which may compute layers again.
    /// </summary>
    public DropoutKey? Dropout
    {
        get => _dropout;
        set
        {
            _dropout = value;
            _attached.ForEach(adapter => adapter.Settings.Dropout = value);
        }
    }

    /// <summary>Finds an adapter.</summary>
    /// <param name="name">Its name.</param>
    /// <returns>The adapter.</returns>
    /// <exception cref="OpenElmException">There is none of this name.</exception>
    public AttachedAdapter this[string name] => _attached.Find(adapter => adapter.Name == name)
        ?? throw new OpenElmException($"The model has no adapter {name}; it has {(Count == 0 ? "none" : string.Join(", ", _attached.Select(adapter => adapter.Name)))}.");

    /// <inheritdoc/>
    public IEnumerator<AttachedAdapter> GetEnumerator() => _attached.GetEnumerator();

    /// <inheritdoc/>
    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();

    /// <summary>Attaches a new adapter to be trained. The base weights must be loaded before: DoRA's magnitudes start from them.</summary>
    /// <param name="config">Modules and settings; its expressions freeze some of the adapter's tensors.</param>
    /// <param name="seed">The same seed gives the same numbers.</param>
    /// <returns>The adapter, which changes no output yet.</returns>
    /// <exception cref="OpenElmException">The rules do not fit the model, an expression matches nothing, or the name is taken.</exception>
    public AttachedAdapter Attach(AdapterConfig config, long seed)
    {
        ArgumentNullException.ThrowIfNull(config);
        AttachedAdapter attached = Add(config.Name, config.Resolve(_module.Config), isTrainable: true);
        try
        {
            using var generator = new Generator((ulong)seed);
            foreach (LowRankLayer layer in attached.Layers)
            {
                layer.Initialize(generator);
            }

            _module.Freeze(config.Freeze.IsDefault ? [] : config.Freeze);
            return attached;
        }
        catch
        {
            Delete(config.Name);
            throw;
        }
    }

    /// <summary>Attaches a stored adapter.</summary>
    /// <param name="name">What to call it.</param>
    /// <param name="stored">The adapter, which may be disposed afterwards.</param>
    /// <param name="isTrainable">Whether it goes on training.</param>
    /// <returns>The adapter.</returns>
    /// <exception cref="OpenElmException">The name is taken or impossible.</exception>
    public AttachedAdapter Attach(string name, Adapter stored, bool isTrainable = false)
    {
        ArgumentNullException.ThrowIfNull(stored);
        AttachedAdapter attached = Add(name, [.. stored.Modules.Select(weights => weights.Module)], isTrainable);
        attached.Load(stored);
        return attached;
    }

    /// <summary>Takes an adapter off the model.</summary>
    /// <param name="name">Its name.</param>
    /// <exception cref="OpenElmException">There is none of this name.</exception>
    /// <exception cref="InvalidOperationException">The adapters are merged.</exception>
    public void Delete(string name)
    {
        RequireUnmerged();
        AttachedAdapter attached = this[name];
        foreach (LowRankLayer layer in attached.Layers)
        {
            _slots[layer.Module.Name].Layers.Remove(layer);
            layer.Dispose();
        }

        _attached.Remove(attached);
        _module.RefreshTrainable();
    }

    /// <summary>
    /// Folds the adapters that are enabled into copies of the weights, so that the forward pass costs what it cost without them. The base stays
    /// beside the copies, as the head of a tied model and to be exactly itself after <see cref="Unmerge"/>.
    /// </summary>
    /// <exception cref="OpenElmException">A merged weight is not finite; nothing is merged then.</exception>
    /// <exception cref="InvalidOperationException">They are merged already.</exception>
    public void Merge()
    {
        RequireUnmerged();
        IsMerged = true;
        try
        {
            foreach ((string name, AdapterSlot slot) in _slots)
            {
                slot.Merge(name);
            }
        }
        catch
        {
            Unmerge();
            throw;
        }
    }

    /// <summary>Drops the merged copies; the weights are bit for bit what they were.</summary>
    public void Unmerge()
    {
        foreach (AdapterSlot slot in _slots.Values)
        {
            slot.Unmerge();
        }

        IsMerged = false;
    }

    /// <summary>CoreNet's name of a base weight beside adapters: that of an adapted module is its base layer's.</summary>
    internal string NameOfBase(string weight) =>
        weight[..^".weight".Length] is var module && _slots.TryGetValue(module, out AdapterSlot? slot) && slot.Layers.Count > 0 ? module + ".base_layer.weight" : weight;

    internal void RequireUnmerged()
    {
        if (IsMerged)
        {
            throw new InvalidOperationException("The adapters are merged; unmerge them first.");
        }
    }

    internal void DisposeAll()
    {
        Unmerge();
        foreach (LowRankLayer layer in _attached.SelectMany(adapter => adapter.Layers))
        {
            layer.Dispose();
        }
    }

    AttachedAdapter Add(string name, ImmutableArray<AdaptedModule> modules, bool isTrainable)
    {
        RequireUnmerged();
        if (!AdapterTensor.IsName(name) || _attached.Exists(adapter => adapter.Name == name))
        {
            throw new OpenElmException($"An adapter cannot be called '{name}'; {(AdapterTensor.IsName(name) ? "there is one of this name" : "use letters, digits, - and _")}.");
        }

        var settings = new AdapterSettings(name, isTrainable) { Dropout = Dropout };
        var attached = new AttachedAdapter(this, settings, [.. modules.Select(module => new LowRankLayer(settings, module, _slots[module.Name].Matrix, _module.Options))]);
        _attached.Add(attached);
        foreach (LowRankLayer layer in attached.Layers)
        {
            _slots[layer.Module.Name].Layers.Add(layer);
        }

        _module.RefreshTrainable();
        return attached;
    }
}
