using OpenElm.Adapters;
using OpenElm.Checkpoints;
using OpenElm.IO;
using OpenElm.Training.Adapters;

namespace OpenElm.Training;

/// <summary>Trained weights as an adapter's folder in PEFT's layout, with the chat template beside it.</summary>
/// <param name="adapter">The adapter in training.</param>
/// <param name="baseModel">The model folder it is trained on.</param>
/// <param name="tokenizerConfig">The text of <c>tokenizer_config.json</c>, or null for no such file.</param>
internal sealed class AdapterFiles(AttachedAdapter adapter, string baseModel, string? tokenizerConfig) : IWeightFiles
{
    /// <inheritdoc/>
    public void WriteInto(string folder, IReadOnlyList<TensorSource> weights)
    {
        // Frozen tensors of the adapter are not among the trained ones, but belong into its file.
        var trained = weights.ToDictionary(weight => weight.Name);
        AdapterContent content = adapter.ToContent(baseModel);
        AdapterFolder.WriteInto(folder, content with { Tensors = [.. content.Tensors.Select(tensor => trained.GetValueOrDefault(tensor.Name, tensor))] });
        if (tokenizerConfig is not null)
        {
            AtomicFile.WriteText(Path.Combine(folder, ModelFolder.TokenizerConfigFile), tokenizerConfig);
        }
    }

    /// <inheritdoc/>
    public void Load(string folder, OpenElmModule model)
    {
        ArgumentNullException.ThrowIfNull(model);
        using Adapter stored = AdapterFolder.Open(folder, model.Config);
        adapter.Load(stored);
    }
}
