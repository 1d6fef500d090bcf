using System.Collections.Immutable;
using System.Text.Json;
using OpenElm.Configuration;

namespace OpenElm.Checkpoints;

/// <summary>
/// A model folder as Hugging Face users know it: <c>config.json</c>, <c>model.safetensors</c> (or shards and
/// <c>model.safetensors.index.json</c>), and perhaps <c>tokenizer.model</c>. Weights are memory-mapped, checked against
/// the configuration, and named as CoreNet names them.
/// </summary>
public sealed class ModelFolder : IDisposable
{
    /// <summary>File name of the architecture.</summary>
    public const string ConfigFile = "config.json";

    /// <summary>File name of the weights.</summary>
    public const string WeightsFile = "model.safetensors";

    /// <summary>File name of the list of shards.</summary>
    public const string IndexFile = "model.safetensors.index.json";

    /// <summary>File name of the SentencePiece model.</summary>
    public const string TokenizerFile = "tokenizer.model";

    /// <summary>File name of the tokenizer's settings, the chat template among them.</summary>
    public const string TokenizerConfigFile = "tokenizer_config.json";

    readonly ImmutableArray<SafetensorsFile> _files;

    ModelFolder(string path, OpenElmConfig config, ImmutableArray<SafetensorsFile> files, ImmutableDictionary<string, TensorView> weights) =>
        (Path, Config, _files, Weights) = (path, config, files, weights);

    /// <summary>The folder.</summary>
    public string Path { get; }

    /// <summary>The architecture.</summary>
    public OpenElmConfig Config { get; }

    /// <summary>All weights by CoreNet's name.</summary>
    public ImmutableDictionary<string, TensorView> Weights { get; }

    /// <summary>The SentencePiece model of the folder, or null if it has none.</summary>
    public string? TokenizerPath => System.IO.Path.Combine(Path, TokenizerFile) is var path && File.Exists(path) ? path : null;

    /// <summary>Reads the SentencePiece model of the folder.</summary>
    /// <returns>Its bytes, or null if the folder has none.</returns>
    public ReadOnlyMemory<byte>? ReadTokenizer() => TokenizerSource(Path)?.Invoke();

    /// <summary>Reads the tokenizer's settings.</summary>
    /// <returns>The JSON text, or null if the folder has none.</returns>
    public string? ReadTokenizerConfig() => System.IO.Path.Combine(Path, TokenizerConfigFile) is var path && File.Exists(path) ? File.ReadAllText(path) : null;

    /// <summary>What reads the SentencePiece model of a folder, or null if the folder has none.</summary>
    internal static Func<ReadOnlyMemory<byte>?>? TokenizerSource(string folder)
    {
        string path = System.IO.Path.Combine(folder, TokenizerFile);
        return File.Exists(path) ? () => File.ReadAllBytes(path) : null;
    }

    /// <summary>
    /// Tells the system that the weights read so far need not stay in memory; they stay readable, and are read from the files again. So a model is
    /// read tensor by tensor without its files counting as the program's memory.
    /// </summary>
    public void ReleasePages()
    {
        foreach (SafetensorsFile file in _files)
        {
            file.ReleasePages();
        }
    }

    /// <summary>Opens a folder; weights are mapped, not read.</summary>
    /// <param name="path">The folder.</param>
    /// <returns>The open folder.</returns>
    /// <exception cref="OpenElmException">A file is missing or damaged, or weights do not fit the configuration; all of them are listed.</exception>
    public static ModelFolder Open(string path)
    {
        if (!Directory.Exists(path))
        {
            throw new OpenElmException($"There is no model folder {path}; a model is a folder with {ConfigFile} and {WeightsFile}.");
        }

        OpenElmConfig config = OpenElmConfigJson.ReadFile(System.IO.Path.Combine(path, ConfigFile));
        var files = ImmutableArray.CreateBuilder<SafetensorsFile>();
        try
        {
            foreach (string file in WeightFiles(path))
            {
                files.Add(SafetensorsFile.Open(file));
            }

            return new ModelFolder(path, config, files.ToImmutable(), Collect(path, config, files));
        }
        catch
        {
            foreach (SafetensorsFile file in files)
            {
                file.Dispose();
            }

            throw;
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (SafetensorsFile file in _files)
        {
            file.Dispose();
        }
    }

    /// <summary>The files of weights that a folder holds or lists.</summary>
    internal static IEnumerable<string> WeightFiles(string folder)
    {
        string single = System.IO.Path.Combine(folder, WeightsFile);
        string index = System.IO.Path.Combine(folder, IndexFile);
        if (File.Exists(single))
        {
            return [single];
        }

        if (!File.Exists(index))
        {
            throw new OpenElmException($"The folder {folder} holds neither {WeightsFile} nor {IndexFile}.");
        }

        try
        {
            using JsonDocument document = JsonDocument.Parse(File.ReadAllBytes(index));
            return [.. document.RootElement.GetProperty("weight_map").EnumerateObject()
                .Select(entry => Shard(folder, index, entry.Value.GetString())).Distinct().Order(StringComparer.Ordinal)];
        }
        catch (Exception e) when (e is JsonException or KeyNotFoundException or InvalidOperationException)
        {
            throw new OpenElmException($"{index} is damaged: {e.Message}", e);
        }
    }

    // A name with a path could point at any file of the machine.
    static string Shard(string folder, string index, string? name) =>
        name is { Length: > 0 } && name.IndexOfAny(['/', '\\', '\0', ':']) < 0
            ? System.IO.Path.Combine(folder, name)
            : throw new OpenElmException($"{index} is damaged: it names the shard {(name is null ? "null" : $"'{name}'")}, which is no file name.");

    static ImmutableDictionary<string, TensorView> Collect(string path, OpenElmConfig config, IEnumerable<SafetensorsFile> files) =>
        WeightMatching.Match(path, ConfigFile, config, files.SelectMany(file => file.Tensors.Values).Select(tensor => StoredWeight.Of(HuggingFaceNames.ToCoreNet(tensor.Name), tensor)))
            .ToImmutableDictionary(pair => pair.Key, pair => pair.Value.Parts[0]);
}
