using System.Collections.Immutable;
using OpenElm.Adapters;
using static TorchSharp.torch;

namespace OpenElm.Training.Adapters;

/// <summary>One named adapter on a model in tensors. Made by <see cref="AdapterCollection.Attach(AdapterConfig, long)"/>.</summary>
public sealed class AttachedAdapter
{
    readonly AdapterCollection _adapters;

    internal AttachedAdapter(AdapterCollection adapters, AdapterSettings settings, ImmutableArray<LowRankLayer> layers) => (_adapters, Settings, Layers) = (adapters, settings, layers);

    /// <summary>The adapter's name, part of its tensors' names.</summary>
    public string Name => Settings.Name;

    /// <summary>Whether it was attached to be trained; else its tensors get no gradients.</summary>
    public bool IsTrainable => Settings.IsTrainable;

    /// <summary>The adapted modules, in the order of the forward pass.</summary>
    public ImmutableArray<AdaptedModule> Modules => [.. Layers.Select(layer => layer.Module)];

    /// <summary>Its tensors under CoreNet's names, such as <c>layers.0.attn.qkv_proj.lora_A.lora.weight</c>.</summary>
    public ImmutableArray<NamedWeight> Weights => [.. Layers.SelectMany(layer => layer.Tensors)];

    /// <summary>Whether the forward pass applies it.</summary>
    /// <exception cref="InvalidOperationException">Set while merged.</exception>
    public bool IsEnabled
    {
        get => Settings.IsEnabled;
        set
        {
            _adapters.RequireUnmerged();
            Settings.IsEnabled = value;
        }
    }

    /// <summary>A factor of α/rank.</summary>
    /// <exception cref="InvalidOperationException">Set while merged.</exception>
    public double Scale
    {
        get => Settings.Scale;
        set
        {
            _adapters.RequireUnmerged();
            Settings.Scale = value;
        }
    }

    internal ImmutableArray<LowRankLayer> Layers { get; }

    internal AdapterSettings Settings { get; }

    /// <summary>Takes over stored numbers.</summary>
    /// <param name="stored">An adapter of the same modules, ranks and kind.</param>
    /// <exception cref="OpenElmException">It has other modules or shapes.</exception>
    public void Load(Adapter stored)
    {
        ArgumentNullException.ThrowIfNull(stored);
        _adapters.RequireUnmerged();
        var names = stored.Modules.Select(weights => weights.Module.Name).ToHashSet();
        if (!names.SetEquals(Modules.Select(module => module.Name)))
        {
            names.SymmetricExceptWith(Modules.Select(module => module.Name));
            throw new OpenElmException($"The adapter {stored.Path} adapts other modules than the configuration, for example {names.Order(StringComparer.Ordinal).First()}.");
        }

        var tensors = stored.Modules.SelectMany(weights => weights.Module.Parts.Select(part => (Name: new AdapterTensor(weights.Module.Name, weights.Module.IsEmbedding, part, Name).ToCoreNet(), View: weights[part])))
            .ToDictionary(entry => entry.Name, entry => entry.View);
        WeightTransfer.Load([.. Weights.Select(weight => (weight.Name, (Tensor)weight.Value))], tensors, $"The adapter {stored.Path} does not fit the configuration");
    }

    /// <summary>The adapter for <see cref="AdapterFolder"/>; its numbers are read when they are written.</summary>
    /// <param name="baseModel">What it was trained on, for people.</param>
    /// <returns>What to write.</returns>
    public AdapterContent ToContent(string? baseModel = null) => new(Modules, WeightTransfer.ToSources(Weights)) { BaseModel = baseModel };
}

/// <summary>What all layers of an adapter share.</summary>
/// <param name="Name">The adapter's name.</param>
/// <param name="IsTrainable">Whether its tensors want gradients.</param>
internal sealed record AdapterSettings(string Name, bool IsTrainable)
{
    public bool IsEnabled { get; set; } = true;

    public double Scale { get; set; } = 1;

    public DropoutKey? Dropout { get; set; }
}
