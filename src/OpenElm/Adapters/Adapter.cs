using System.Collections.Immutable;
using OpenElm.Checkpoints;
using OpenElm.Checkpoints.Torch;
using OpenElm.Configuration;

namespace OpenElm.Adapters;

/// <summary>The tensors of one adapted module, as they are stored.</summary>
/// <param name="Module">The module and its settings.</param>
/// <param name="A">[rank, inputs].</param>
/// <param name="B">[outputs, rank].</param>
/// <param name="Magnitude">[outputs], or null without DoRA.</param>
public sealed record AdapterWeights(AdaptedModule Module, TensorView A, TensorView B, TensorView? Magnitude)
{
    /// <summary>Finds a tensor.</summary>
    /// <param name="part">Which.</param>
    /// <returns>The tensor.</returns>
    public TensorView this[AdapterPart part] => part switch
    {
        AdapterPart.A => A,
        AdapterPart.B => B,
        _ => Magnitude ?? throw new InvalidOperationException($"{Module.Name} has no magnitude."),
    };
}

/// <summary>An adapter and how strongly it is applied.</summary>
/// <param name="Adapter">The adapter.</param>
/// <param name="Scale">A factor of its scaling α/rank; 1 as it was trained, 0 without its product.</param>
public readonly record struct ScaledAdapter(Adapter Adapter, double Scale = 1);

/// <summary>
/// An adapter on disk that fits a model: a folder in PEFT's layout (<see cref="AdapterFolder"/>), or a file with CoreNet's names (<c>.pt</c>,
/// <c>.safetensors</c>). Tensors are mapped where the format allows, and valid while this is open.
/// </summary>
public sealed class Adapter : IDisposable
{
    readonly ImmutableArray<IDisposable> _owned;

    internal Adapter(string path, ImmutableArray<AdapterWeights> modules, ImmutableArray<string> notes, params ImmutableArray<IDisposable> owned) =>
        (Path, Modules, Notes, _owned) = (path, modules, notes, owned);

    /// <summary>The file or folder.</summary>
    public string Path { get; }

    /// <summary>The adapted modules, in the order of the forward pass.</summary>
    public ImmutableArray<AdapterWeights> Modules { get; }

    /// <summary>Sentences on what the files do not say and was assumed.</summary>
    public ImmutableArray<string> Notes { get; }

    /// <summary>Numbers in all tensors.</summary>
    public long Parameters => Modules.Sum(module => module.Module.Parameters);

    /// <summary>Opens an adapter.</summary>
    /// <param name="path">A folder in PEFT's layout, or a file with CoreNet's names.</param>
    /// <param name="model">The architecture it is for.</param>
    /// <returns>The open adapter.</returns>
    /// <exception cref="OpenElmException">There is none, it is damaged, or it is for another model; modules and shapes are named.</exception>
    public static Adapter Open(string path, OpenElmConfig model)
    {
        ArgumentNullException.ThrowIfNull(model);
        return Directory.Exists(path) ? AdapterFolder.Open(path, model) : OpenFile(path, model);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (IDisposable owner in _owned)
        {
            owner.Dispose();
        }
    }

    // CoreNet's checkpoints hold the base weights beside the adapter's, and no settings.
    static Adapter OpenFile(string path, OpenElmConfig model)
    {
        (IReadOnlyDictionary<string, TensorView> tensors, ImmutableArray<IDisposable> owned) = OpenTensors(path);
        try
        {
            ImmutableArray<AdapterWeights> modules = AdapterMatching.Match(path, model, tensors.Where(pair => AdapterTensor.TryParse(pair.Key, out _)), settings: null);
            return new Adapter(path, modules, [$"{path} does not say the adapter's scaling; α = rank is assumed, as the paper has it."], owned);
        }
        catch
        {
            foreach (IDisposable owner in owned)
            {
                owner.Dispose();
            }

            throw;
        }
    }

    /// <summary>Opens the tensors of a safetensors file or an archive of <c>torch.save</c>.</summary>
    internal static (IReadOnlyDictionary<string, TensorView> Tensors, ImmutableArray<IDisposable> Owned) OpenTensors(string path)
    {
        if (System.IO.Path.GetExtension(path).Equals(".safetensors", StringComparison.OrdinalIgnoreCase))
        {
            var file = SafetensorsFile.Open(path);
            return (file.Tensors, [file]);
        }

        return CoreNetCheckpoint.OpenTensors(StoredZip.Open(path));
    }
}
