using System.Collections.Immutable;
using OpenElm.Configuration;

namespace OpenElm.Checkpoints.Gguf;

/// <summary>Opens llama.cpp's files of the architecture <c>openelm</c>: any supported tensor types, mixed as they come.</summary>
internal static class GgufCheckpoint
{
    /// <summary>Opens a file; weights are mapped, not read.</summary>
    /// <exception cref="OpenElmException">It is damaged, of another architecture, or its tensors do not fit its metadata.</exception>
    public static Checkpoint Open(string path)
    {
        var file = GgufFile.Open(path);
        try
        {
            OpenElmConfig config = ReadConfig(path, file, out string? name);
            ImmutableDictionary<string, StoredWeight> weights = WeightMatching.Match(path, "metadata", config, Collect(path, file, config));
            GgufMetadata metadata = file.Metadata;
            bool hasTokenizer = GgufTokenizer.IsIn(metadata);
            return new Checkpoint(path, CheckpointFormat.Gguf, config, weights, file)
            {
                TokenizerSource = hasTokenizer ? () => GgufTokenizer.Read(metadata, path) : null,
                Notes = [.. Notes(metadata, hasTokenizer, name)],
            };
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    static IEnumerable<string> Notes(GgufMetadata metadata, bool hasTokenizer, string? name)
    {
        if (name is not null)
        {
            yield return $"The widths are those of {name}.";
        }

        if (!hasTokenizer && metadata.String(GgufKeys.TokenizerModel) is { } model && model != GgufTokenizer.None)
        {
            yield return $"The file's tokenizer is of the kind {model}, which is not supported; name a tokenizer.model where text is needed.";
        }
    }

    static OpenElmConfig ReadConfig(string path, GgufFile file, out string? name)
    {
        GgufMetadata metadata = file.Metadata;
        string architecture = metadata.String(GgufKeys.Architecture) ?? throw metadata.Missing(GgufKeys.Architecture);
        if (architecture != GgufKeys.OpenElm)
        {
            throw new OpenElmException($"{path} holds a model of the architecture {architecture}; only {GgufKeys.OpenElm} can be run.");
        }

        int count = metadata.RequiredInt(GgufKeys.BlockCount);
        if (count < 1 || count > file.Tensors.Count)
        {
            throw new OpenElmException($"{path}: {GgufKeys.BlockCount} is {count}, and the file holds {file.Tensors.Count} tensors.");
        }

        ImmutableArray<int> heads = metadata.PerLayer(GgufKeys.HeadCount, count) ?? throw metadata.Missing(GgufKeys.HeadCount);
        ImmutableArray<int> kvHeads = metadata.PerLayer(GgufKeys.HeadCountKv, count) ?? heads;
        ImmutableArray<int> ffn = metadata.PerLayer(GgufKeys.FeedForwardLength, count) ?? throw metadata.Missing(GgufKeys.FeedForwardLength);
        int headDim = metadata.Int(GgufKeys.KeyLength) ?? HeadDimOfNorm(path, file);
        foreach (string key in new[] { GgufKeys.ValueLength, GgufKeys.RopeDimensions })
        {
            if (metadata.Int(key) is { } other && other != headDim)
            {
                throw new OpenElmException($"{path}: {key} is {other} and the head has {headDim} elements; an OpenELM rotates whole heads, and its values are as wide as its keys.");
            }
        }

        if (metadata.String(GgufKeys.RopeScaling) is { } scaling && scaling != "none")
        {
            throw new OpenElmException($"{path}: {GgufKeys.RopeScaling} is {scaling}; scaled RoPE is not supported.");
        }

        if (!file.Tensors.TryGetValue(GgufNames.Embedding, out TensorView embedding) || embedding.Shape.Length != 2 || embedding.Shape[0] > int.MaxValue)
        {
            throw new OpenElmException($"{path} has no matrix {GgufNames.Embedding}.");
        }

        var defaults = new OpenElmConfig();
        int context = metadata.Int(GgufKeys.ContextLength) ?? defaults.MaxContextLength;
        return ConfigFromWidths.Complete(new OpenElmConfig
        {
            VocabSize = (int)embedding.Shape[0],
            MaxContextLength = context,
            RopeMaxLength = (int)Math.Min(int.MaxValue, Math.Max(defaults.RopeMaxLength, 2L * context)),
            ModelDim = metadata.RequiredInt(GgufKeys.EmbeddingLength),
            HeadDim = headDim,
            NormalizeQkProjections = true,
            ShareInputOutputLayers = true,
            RopeFreqConstant = metadata.Number(GgufKeys.RopeBase) ?? defaults.RopeFreqConstant,
            RmsNormEps = metadata.Number(GgufKeys.RmsEpsilon) ?? throw metadata.Missing(GgufKeys.RmsEpsilon),
            BosTokenId = metadata.Int(GgufKeys.BosId) ?? defaults.BosTokenId,
            EosTokenId = metadata.Int(GgufKeys.EosId) ?? defaults.EosTokenId,
        }, [.. Enumerable.Range(0, count).Select(i => new LayerShape(heads[i], kvHeads[i], ffn[i]))], out name);
    }

    static int HeadDimOfNorm(string path, GgufFile file) =>
        file.Tensors.TryGetValue("blk.0.attn_q_norm.weight", out TensorView norm) && norm.Shape is [var width] && width <= int.MaxValue
            ? (int)width
            : throw new OpenElmException($"{path} has neither {GgufKeys.KeyLength} nor a blk.0.attn_q_norm.weight, so the size of its heads is unknown.");

    // Tensors that no weight is made of keep their names, for the message.
    static IEnumerable<StoredWeight> Collect(string path, GgufFile file, OpenElmConfig config)
    {
        var left = file.Tensors.ToDictionary(pair => pair.Key, pair => pair.Value);
        foreach (TensorShape weight in TensorShapes.Of(config))
        {
            ImmutableArray<string> names = GgufNames.Of(weight.Name);
            TensorView[] parts = [.. names.Where(left.ContainsKey).Select(name => left[name])];
            if (parts.Length < names.Length)
            {
                continue; // the names are listed as they are in the file: the weight is missing, and its half has no use
            }

            // Gate and up are halves of proj_1; a half of another height would shift the other.
            if (parts.Any(part => part.Shape.Length != parts[0].Shape.Length || !part.Shape.SequenceEqual(parts[0].Shape)))
            {
                throw new OpenElmException($"{path}: {string.Join(" and ", parts.Select(part => $"{part.Name} [{string.Join(", ", part.Shape)}]"))} must have the same sizes.");
            }

            Array.ForEach(parts, part => left.Remove(part.Name));
            yield return new StoredWeight(weight.Name, parts[0].Shape.SetItem(0, parts.Length * parts[0].Shape[0]), [.. parts]);
        }

        foreach (TensorView tensor in left.Values)
        {
            yield return StoredWeight.Of(tensor.Name, tensor);
        }
    }
}
