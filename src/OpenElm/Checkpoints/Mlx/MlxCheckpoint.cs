using System.Collections.Immutable;
using System.Text.Json;
using OpenElm.Configuration;

namespace OpenElm.Checkpoints.Mlx;

/// <summary>Opens the folders of MLX programs: Apple's example (<c>weights.safetensors</c> or <c>weights.npz</c>, CoreNet's names) and quantised ones of mlx-lm.</summary>
internal static class MlxCheckpoint
{
    public const string WeightsFile = "weights.safetensors", ArchiveFile = "weights.npz";

    /// <summary>Opens a folder of Apple's example.</summary>
    public static Checkpoint OpenApple(string path, JsonElement config)
    {
        string safetensors = Path.Combine(path, WeightsFile), archive = Path.Combine(path, ArchiveFile);
        OpenElmConfig architecture = MlxConfig.Read(config, Path.Combine(path, ModelFolder.ConfigFile));
        RefuseOtherModes(path, config);
        if (!File.Exists(safetensors) && !File.Exists(archive))
        {
            throw new OpenElmException($"The folder {path} holds neither {WeightsFile} nor {ArchiveFile}.");
        }

        return Open(path, CheckpointFormat.Mlx, architecture, owned =>
        {
            if (File.Exists(safetensors))
            {
                var file = SafetensorsFile.Open(safetensors);
                owned.Add(file);
                return file.Tensors.Values;
            }

            var npz = NpzFile.Open(archive);
            owned.Add(npz);
            return npz.Tensors.Values;
        });
    }

    /// <summary>Opens a quantised folder of mlx-lm, which otherwise looks as Hugging Face's.</summary>
    public static Checkpoint OpenMlxLm(string path, JsonElement config)
    {
        RefuseOtherModes(path, config);
        return Open(path, CheckpointFormat.MlxLm, OpenElmConfigJson.Read(config, Path.Combine(path, ModelFolder.ConfigFile)), owned =>
        {
            var tensors = new List<TensorView>();
            foreach (string file in ModelFolder.WeightFiles(path))
            {
                var shard = SafetensorsFile.Open(file);
                owned.Add(shard);
                tensors.AddRange(shard.Tensors.Values);
            }

            return tensors;
        });
    }

    static Checkpoint Open(string path, CheckpointFormat format, OpenElmConfig config, Func<List<IDisposable>, IEnumerable<TensorView>> read)
    {
        var owned = new List<IDisposable>();
        try
        {
            var tensors = new Dictionary<string, TensorView>();
            foreach (TensorView tensor in read(owned))
            {
                if (!tensors.TryAdd(HuggingFaceNames.ToCoreNet(tensor.Name), tensor))
                {
                    throw new OpenElmException($"{path}: {tensor.Name} is stored twice.");
                }
            }

            ImmutableDictionary<string, StoredWeight> weights = WeightMatching.Match(path, ModelFolder.ConfigFile, config, [.. AffineGroups.Join(path, tensors, config, owned)]);
            return new Checkpoint(path, format, config, weights, [.. owned]) { TokenizerSource = ModelFolder.TokenizerSource(path) };
        }
        catch
        {
            owned.ForEach(owner => owner.Dispose());
            throw;
        }
    }

    // Groups and bits are told by the shapes; the block is looked at for what shapes do not tell.
    static void RefuseOtherModes(string path, JsonElement config)
    {
        if (config.TryGetProperty("quantization", out JsonElement block) && block.ValueKind == JsonValueKind.Object
            && block.TryGetProperty("mode", out JsonElement mode) && !(mode.ValueKind == JsonValueKind.String && mode.GetString() == "affine"))
        {
            throw new OpenElmException($"{path} is quantised in the mode {mode.GetRawText()}; only \"affine\" is supported.");
        }
    }
}
