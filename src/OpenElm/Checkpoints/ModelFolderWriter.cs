using System.Collections.Immutable;
using System.Text;
using System.Text.Json;
using OpenElm.Configuration;
using OpenElm.IO;

namespace OpenElm.Checkpoints;

/// <summary>What a model folder holds, ready to be written.</summary>
/// <param name="Config">The architecture.</param>
/// <param name="Weights">All weights under CoreNet's names; written in this order under Hugging Face's.</param>
public sealed record ModelContent(OpenElmConfig Config, IReadOnlyList<TensorSource> Weights)
{
    /// <summary>The SentencePiece model to put beside the weights, or null.</summary>
    public ReadOnlyMemory<byte>? Tokenizer { get; init; }

    /// <summary>The text of <c>tokenizer_config.json</c>, which holds the chat template, or null for no such file.</summary>
    public string? TokenizerConfig { get; init; }

    /// <summary>Weights are split into several files above this many bytes (Hugging Face's default is 5 GB).</summary>
    public long MaxShardBytes { get; init; } = 5_000_000_000;
}

/// <summary>Writes model folders that any Hugging Face user recognises (section "HF directory" of the checkpoint documentation).</summary>
public static class ModelFolderWriter
{
    /// <summary>Writes the files of a model into an existing folder; use it inside <see cref="AtomicFolder.Write"/>.</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="model">What to write.</param>
    public static void WriteInto(string folder, ModelContent model)
    {
        ArgumentNullException.ThrowIfNull(model);
        if (model.Weights.FirstOrDefault(weight => weight.DType is not (DType.F32 or DType.BF16 or DType.F16 or DType.F64)) is { } foreign)
        {
            throw new OpenElmException($"{foreign.Name} is {foreign.DType}, which Hugging Face's folders do not have; choose F32, BF16 or F16.");
        }

        string dtype = model.Weights[0].DType.TorchName();
        AtomicFile.WriteText(Path.Combine(folder, ModelFolder.ConfigFile), OpenElmConfigJson.Write(model.Config, dtype));
        AtomicFile.WriteText(Path.Combine(folder, "generation_config.json"),
            $"{{\n  \"_from_model_config\": true,\n  \"bos_token_id\": {model.Config.BosTokenId},\n  \"eos_token_id\": {model.Config.EosTokenId}\n}}\n");
        if (model.Tokenizer is { } tokenizer)
        {
            AtomicFile.WriteBytes(Path.Combine(folder, ModelFolder.TokenizerFile), tokenizer);
        }

        if (model.TokenizerConfig is { } tokenizerConfig)
        {
            AtomicFile.WriteText(Path.Combine(folder, ModelFolder.TokenizerConfigFile), tokenizerConfig);
        }

        ImmutableArray<TensorSource> weights = [.. model.Weights.Select(weight => weight with { Name = HuggingFaceNames.FromCoreNet(weight.Name) })];
        List<List<TensorSource>> shards = Split(weights, model.MaxShardBytes);
        var metadata = new Dictionary<string, string> { ["format"] = "pt" };
        if (shards is [var all])
        {
            SafetensorsWriter.Write(Path.Combine(folder, ModelFolder.WeightsFile), all, metadata);
            return;
        }

        var map = new Dictionary<string, string>();
        for (int i = 0; i < shards.Count; i++)
        {
            string name = $"model-{i + 1:d5}-of-{shards.Count:d5}.safetensors";
            SafetensorsWriter.Write(Path.Combine(folder, name), shards[i], metadata);
            shards[i].ForEach(tensor => map.Add(tensor.Name, name));
        }

        AtomicFile.WriteText(Path.Combine(folder, ModelFolder.IndexFile), Index(map, weights.Sum(weight => weight.ByteCount)));
    }

    /// <summary>Writes a model folder atomically.</summary>
    /// <param name="path">The folder.</param>
    /// <param name="model">What to write.</param>
    /// <param name="overwrite">Whether an existing folder is replaced.</param>
    /// <param name="check">Looks at the finished folder, under a temporary name, before it takes its place; throws to refuse it.</param>
    public static void Write(string path, ModelContent model, bool overwrite = false, Action<string>? check = null) =>
        AtomicFolder.Write(path, folder =>
        {
            WriteInto(folder, model);
            check?.Invoke(folder);
        }, overwrite);

    static List<List<TensorSource>> Split(IEnumerable<TensorSource> weights, long maxShardBytes)
    {
        var shards = new List<List<TensorSource>> { new() };
        long used = 0;
        foreach (TensorSource weight in weights)
        {
            if (used > 0 && used + weight.ByteCount > maxShardBytes)
            {
                shards.Add([]);
                used = 0;
            }

            shards[^1].Add(weight);
            used += weight.ByteCount;
        }

        return shards;
    }

    static string Index(Dictionary<string, string> map, long totalBytes)
    {
        using var buffer = new MemoryStream();
        using (var writer = new Utf8JsonWriter(buffer, new JsonWriterOptions { Indented = true }))
        {
            writer.WriteStartObject();
            writer.WriteStartObject("metadata");
            writer.WriteNumber("total_size", totalBytes);
            writer.WriteEndObject();
            writer.WriteStartObject("weight_map");
            foreach ((string tensor, string file) in map)
            {
                writer.WriteString(tensor, file);
            }

            writer.WriteEndObject();
            writer.WriteEndObject();
        }

        return Encoding.UTF8.GetString(buffer.ToArray()) + "\n";
    }
}
