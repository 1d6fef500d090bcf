using System.Collections.Immutable;
using OpenElm.Configuration;
using OpenElm.IO;

namespace OpenElm.Checkpoints.Gguf;

/// <summary>
/// Writes a model as GGUF version 3 for llama.cpp's architecture <c>openelm</c> (section "GGUF" of the checkpoint
/// documentation). proj_1 becomes gate and up, norms are always F32; matrices keep the type of the content.
/// </summary>
public static class GgufWriter
{
    const uint Version = 3, QuantizationVersion = 2;
    const int Alignment = GgufFile.DefaultAlignment;

    /// <summary>Writes a file atomically.</summary>
    /// <param name="path">The file, ending in <c>.gguf</c> by custom.</param>
    /// <param name="model">What to write; without a tokenizer the vocabulary is of numbers only.</param>
    /// <param name="overwrite">Whether an existing file is replaced.</param>
    /// <param name="check">Looks at the finished file, under a temporary name, before it takes its place; throws to refuse it.</param>
    /// <exception cref="OpenElmException">llama.cpp's architecture cannot express the model, or the file exists.</exception>
    public static void Write(string path, ModelContent model, bool overwrite = false, Action<string>? check = null)
    {
        ArgumentNullException.ThrowIfNull(model);
        Refuse(model);
        AtomicFile.RefuseExisting(path, overwrite);
        ImmutableArray<TensorSource> weights = [.. model.Weights.Select(WithPlainNorms)];
        using GgufMetadataWriter metadata = Metadata(model, weights);
        AtomicFile.Write(path, stream => Write(stream, metadata, weights), check);
    }

    static void Refuse(ModelContent model)
    {
        string[] missing = [.. new[]
        {
            (model.Config.ShareInputOutputLayers, "a head tied to the embedding"),
            (model.Config.FfnWithGlu, "a gated feed-forward network"),
            (model.Config.NormalizeQkProjections, "normalised queries and keys"),
        }.Where(need => !need.Item1).Select(need => need.Item2)];
        if (missing is not [])
        {
            throw new OpenElmException($"GGUF cannot hold this model: llama.cpp's openelm always has {string.Join(" and ", missing)}; write a Hugging Face folder instead.");
        }

        if (model.Weights.FirstOrDefault(weight => !GgufTensorTypes.CanWrite(weight.DType)) is { } foreign)
        {
            throw new OpenElmException($"{foreign.Name} is {foreign.DType}, which GGUF does not have; choose {GgufTensorTypes.Writable}.");
        }
    }

    static TensorSource WithPlainNorms(TensorSource weight) =>
        weight.Shape.Length > 1 || weight.DType == DType.F32 ? weight : TensorSource.Of(weight.Name, weight.Shape, weight.ToFloats());

    static GgufMetadataWriter Metadata(ModelContent model, ImmutableArray<TensorSource> weights)
    {
        OpenElmConfig config = model.Config;
        DType type = weights.Where(weight => weight.Shape.Length > 1).GroupBy(weight => weight.DType).MaxBy(group => group.Sum(weight => weight.ByteCount))!.Key;
        var metadata = new GgufMetadataWriter();
        metadata.String(GgufKeys.Architecture, GgufKeys.OpenElm);
        metadata.UInt(GgufKeys.FileType, GgufTensorTypes.FileTypeOf(type));
        if (weights.Any(weight => weight.DType.IsBlocked()))
        {
            metadata.UInt(GgufKeys.QuantizationVersion, QuantizationVersion);
        }

        metadata.UInt(GgufKeys.BlockCount, (uint)config.Layers.Length);
        metadata.UInt(GgufKeys.ContextLength, (uint)config.MaxContextLength);
        metadata.UInt(GgufKeys.EmbeddingLength, (uint)config.ModelDim);
        metadata.UInt(GgufKeys.VocabSize, (uint)config.VocabSize);
        metadata.Ints(GgufKeys.FeedForwardLength, [.. config.Layers.Select(layer => layer.FfnDim)]);
        metadata.Ints(GgufKeys.HeadCount, [.. config.Layers.Select(layer => layer.QueryHeads)]);
        metadata.Ints(GgufKeys.HeadCountKv, [.. config.Layers.Select(layer => layer.KvHeads)]);
        metadata.Float(GgufKeys.RopeBase, (float)config.RopeFreqConstant);
        metadata.Float(GgufKeys.RmsEpsilon, (float)config.RmsNormEps);
        metadata.UInt(GgufKeys.RopeDimensions, (uint)config.HeadDim);
        metadata.UInt(GgufKeys.KeyLength, (uint)config.HeadDim);
        metadata.UInt(GgufKeys.ValueLength, (uint)config.HeadDim);
        GgufTokenizer.Write(metadata, model.Tokenizer, config.VocabSize);
        return metadata;
    }

    static void Write(Stream stream, GgufMetadataWriter metadata, ImmutableArray<TensorSource> weights)
    {
        stream.Write("GGUF"u8);
        GgufMetadataWriter.WriteUInt32(stream, Version);
        GgufMetadataWriter.WriteUInt64(stream, (ulong)weights.Sum(weight => GgufNames.Of(weight.Name).Length));
        GgufMetadataWriter.WriteUInt64(stream, (ulong)metadata.Count);
        stream.Write(metadata.Bytes);
        long offset = 0;
        foreach (TensorSource weight in weights)
        {
            ImmutableArray<string> names = GgufNames.Of(weight.Name);
            ImmutableArray<long> shape = weight.Shape.SetItem(0, weight.Shape[0] / names.Length);
            foreach (string name in names)
            {
                WriteEntry(stream, name, shape, weight.DType, offset);
                offset += Padded(weight.ByteCount / names.Length);
            }
        }

        Pad(stream);
        foreach (TensorSource weight in weights)
        {
            long begin = stream.Position;
            int parts = GgufNames.Of(weight.Name).Length;
            long part = weight.ByteCount / parts;
            using (var padded = new PaddedPartsStream(stream, part, (int)(Padded(part) - part)))
            {
                weight.Write(padded);
            }

            if (stream.Position - begin != parts * Padded(part))
            {
                throw new InvalidOperationException($"{weight.Name} wrote {stream.Position - begin} bytes instead of {parts * Padded(part)}.");
            }
        }
    }

    static void WriteEntry(Stream stream, string name, ImmutableArray<long> shape, DType type, long offset)
    {
        GgufMetadataWriter.WriteString(stream, name);
        GgufMetadataWriter.WriteUInt32(stream, (uint)shape.Length);
        foreach (long size in shape.Reverse()) // innermost first
        {
            GgufMetadataWriter.WriteUInt64(stream, (ulong)size);
        }

        GgufMetadataWriter.WriteUInt32(stream, GgufTensorTypes.NumberOf(type));
        GgufMetadataWriter.WriteUInt64(stream, (ulong)offset);
    }

    static long Padded(long bytes) => (bytes + Alignment - 1) / Alignment * Alignment;

    static void Pad(Stream stream)
    {
        Span<byte> zeros = stackalloc byte[Alignment];
        zeros.Clear();
        stream.Write(zeros[..(int)(Padded(stream.Position) - stream.Position)]);
    }
}
