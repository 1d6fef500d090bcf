using System.Collections.Immutable;
using OpenElm.Checkpoints;
using OpenElm.Configuration;
using OpenElm.IO;

namespace OpenElm.Adapters;

/// <summary>What an adapter folder holds, ready to be written.</summary>
/// <param name="Modules">The adapted modules.</param>
/// <param name="Tensors">Their tensors under names that <see cref="AdapterTensor"/> reads.</param>
public sealed record AdapterContent(ImmutableArray<AdaptedModule> Modules, IReadOnlyList<TensorSource> Tensors)
{
    /// <summary>What the adapter was trained on, for people and for PEFT's loader; null leaves it open.</summary>
    public string? BaseModel { get; init; }
}

/// <summary>
/// The layout of Hugging Face's PEFT: <c>adapter_config.json</c> and <c>adapter_model.safetensors</c> (or <c>.bin</c>), with names behind
/// <c>base_model.model.</c> and Hugging Face's names of the modules. CoreNet's names are read too.
/// </summary>
public static class AdapterFolder
{
    /// <summary>The settings.</summary>
    public const string ConfigFile = "adapter_config.json";

    /// <summary>The tensors.</summary>
    public const string WeightsFile = "adapter_model.safetensors";

    const string TorchWeightsFile = "adapter_model.bin";

    /// <summary>Whether a folder holds an adapter.</summary>
    /// <param name="path">The folder.</param>
    /// <returns>True if it has the settings of one.</returns>
    public static bool Is(string path) => File.Exists(Path.Combine(path, ConfigFile));

    /// <summary>Opens a folder.</summary>
    /// <param name="path">The folder.</param>
    /// <param name="model">The architecture the adapter is for.</param>
    /// <returns>The open adapter.</returns>
    /// <exception cref="OpenElmException">It holds none, it is damaged, or it is for another model; modules and shapes are named.</exception>
    public static Adapter Open(string path, OpenElmConfig model)
    {
        if (!Is(path))
        {
            throw new OpenElmException($"{path} holds no adapter; an adapter is a folder with {ConfigFile} and {WeightsFile}.");
        }

        var settings = PeftConfig.Read(Path.Combine(path, ConfigFile));
        string weights = Path.Combine(path, WeightsFile), torch = Path.Combine(path, TorchWeightsFile);
        (IReadOnlyDictionary<string, TensorView> tensors, ImmutableArray<IDisposable> owned) = Adapter.OpenTensors(File.Exists(weights) || !File.Exists(torch) ? weights : torch);
        try
        {
            return new Adapter(path, AdapterMatching.Match(path, model, tensors, settings), [], owned);
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

    /// <summary>Writes the files of an adapter into an existing folder; use it inside <see cref="AtomicFolder.Write"/>.</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="adapter">What to write.</param>
    public static void WriteInto(string folder, AdapterContent adapter)
    {
        ArgumentNullException.ThrowIfNull(adapter);
        Dictionary<(string Module, AdapterPart Part), TensorSource> sources = adapter.Tensors.ToDictionary(source =>
            AdapterTensor.TryParse(source.Name, out AdapterTensor tensor) ? (tensor.Module, tensor.Part) : throw new ArgumentException($"{source.Name} is no tensor of an adapter.", nameof(adapter)));
        IEnumerable<TensorSource> tensors =
            from module in adapter.Modules
            from part in module.Parts
            select sources[(module.Name, part)] with { Name = new AdapterTensor(module.Name, module.IsEmbedding, part).ToPeft() };
        AtomicFile.WriteText(Path.Combine(folder, ConfigFile), PeftConfig.Write(adapter.Modules, adapter.BaseModel));
        SafetensorsWriter.Write(Path.Combine(folder, WeightsFile), [.. tensors], new Dictionary<string, string> { ["format"] = "pt" });
    }

    /// <summary>Writes an adapter folder atomically.</summary>
    /// <param name="path">The folder.</param>
    /// <param name="adapter">What to write.</param>
    /// <param name="overwrite">Whether an existing folder is replaced.</param>
    public static void Write(string path, AdapterContent adapter, bool overwrite = false) =>
        AtomicFolder.Write(path, folder => WriteInto(folder, adapter), overwrite);

    /// <summary>Says where PEFT would compute something else from a folder that we write.</summary>
    /// <param name="modules">The adapted modules.</param>
    /// <returns>One sentence for each difference.</returns>
    public static IReadOnlyList<string> PeftDifferences(IReadOnlyCollection<AdaptedModule> modules) =>
        PeftConfig.HasMixedDora(modules)
            ? ["PEFT has one use_dora for all modules and would give every one a magnitude, the embedding too; merge the adapter (openelm merge) for programs that use PEFT."]
            : [];
}
