using System.Collections.Immutable;
using OpenElm.Checkpoints;
using OpenElm.Configuration;
using OpenElm.IO;

namespace OpenElm.Adapters;

/// <summary>
/// Adapters folded into the weights of a model, so that every program runs it as an ordinary model. Sums are in double precision and rounded
/// once; weights are streamed, some rows at a time on all processors.
/// </summary>
public static class AdapterMerge
{
    // What belongs to the tokenizer and to chatting, and stands in no weight.
    static readonly ImmutableArray<string> Companions = ["tokenizer_config.json", "chat_template.jinja", "special_tokens_map.json", "added_tokens.json", "tokenizer.json"];

    /// <summary>Plans the merged model. Both files must stay open until it is written.</summary>
    /// <param name="model">The base model, of any format.</param>
    /// <param name="adapters">The adapters; what they do adds up.</param>
    /// <param name="dtype">F32, BF16 or F16; null keeps the type of each weight that is BF16 or F16, and takes F32 for any other.</param>
    /// <param name="cancellation">Stops the writing.</param>
    /// <returns>What to write. Writing throws where a merged weight is not finite, and names it.</returns>
    /// <remarks>
    /// An embedding's adapter changes what goes in only. The head of a tied model stays the base embedding, so the merged model is untied.
    /// </remarks>
    public static ModelContent Content(Checkpoint model, IReadOnlyList<ScaledAdapter> adapters, DType? dtype = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(model);
        ImmutableDictionary<string, Func<LowRankUpdate>> updates = LowRankUpdate.ByWeight(adapters);
        DType TypeOf(StoredWeight weight) => dtype ?? (ModelConversion.TypeOf(weight) is var own and (DType.BF16 or DType.F16) ? own : DType.F32);

        ModelContent content = ModelConversion.Content(model, weight => TypeOf(weight));
        var weights = content.Weights.ToList();
        bool unties = model.Config.ShareInputOutputLayers && updates.ContainsKey(TensorNames.Embedding);
        if (unties)
        {
            weights.Add(weights.Single(weight => weight.Name == TensorNames.Embedding) with { Name = TensorNames.Classifier });
        }

        return content with
        {
            Config = unties ? (model.Config with { ShareInputOutputLayers = false }).Validated() : model.Config,
            Weights = [.. weights.Select(weight => updates.TryGetValue(weight.Name, out Func<LowRankUpdate>? update)
                ? weight with { Write = stream => new MergedWeight(model.Weights[weight.Name], update(), weight.DType, cancellation).WriteTo(stream) }
                : weight)],
        };
    }

    /// <summary>Writes a merged model as a Hugging Face folder, atomically, with the tokenizer and the chat template.</summary>
    /// <param name="path">The folder.</param>
    /// <param name="content">What <see cref="Content"/> planned.</param>
    /// <param name="sources">Folders that may hold a chat template and other files of the tokenizer; the first that has one wins.</param>
    /// <param name="overwrite">Whether an existing folder is replaced.</param>
    /// <exception cref="OpenElmException">A merged weight is not finite or too large for its type, or the path is wrong; nothing is kept.</exception>
    public static void Write(string path, ModelContent content, IReadOnlyList<string> sources, bool overwrite = false) => AtomicFolder.Write(path, folder =>
    {
        ModelFolderWriter.WriteInto(folder, content);
        foreach (string name in Companions)
        {
            if (sources.Select(source => Path.Combine(source, name)).FirstOrDefault(File.Exists) is { } file)
            {
                AtomicFile.WriteBytes(Path.Combine(folder, name), File.ReadAllBytes(file));
            }
        }
    }, overwrite);
}
