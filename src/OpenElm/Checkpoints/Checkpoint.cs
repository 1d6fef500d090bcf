using System.Collections.Immutable;
using System.Text.Json;
using OpenElm.Checkpoints.Gguf;
using OpenElm.Checkpoints.Mlx;
using OpenElm.Checkpoints.Torch;
using OpenElm.Configuration;

namespace OpenElm.Checkpoints;

/// <summary>The formats that <see cref="Checkpoint.Open"/> recognises.</summary>
public enum CheckpointFormat
{
    /// <summary>Hugging Face's folder, ours and mlx-lm's: <c>config.json</c> and safetensors, single or in shards.</summary>
    HuggingFace,

    /// <summary>mlx-lm's folder, quantised.</summary>
    MlxLm,

    /// <summary>Apple's MLX example: <c>weights.safetensors</c> or <c>weights.npz</c>, 16-bit or quantised.</summary>
    Mlx,

    /// <summary>CoreNet's <c>.pt</c>: a state dict or a training checkpoint.</summary>
    CoreNet,

    /// <summary>llama.cpp's file.</summary>
    Gguf,

    /// <summary>llama2.c's file.</summary>
    Llama2c,
}

/// <summary>A model on disk, whatever its format: architecture, weights by CoreNet's names, tokenizer. Weights are mapped where the format allows.</summary>
public sealed class Checkpoint : IDisposable
{
    readonly ImmutableArray<IDisposable> _owned;
    ReadOnlyMemory<byte>? _tokenizer;

    internal Checkpoint(string path, CheckpointFormat format, OpenElmConfig config, ImmutableDictionary<string, StoredWeight> weights, params ImmutableArray<IDisposable> owned) =>
        (Path, Format, Config, Weights, _owned) = (path, format, config, weights, owned);

    /// <summary>The file or folder.</summary>
    public string Path { get; }

    /// <summary>Its format.</summary>
    public CheckpointFormat Format { get; }

    /// <summary>The architecture.</summary>
    public OpenElmConfig Config { get; }

    /// <summary>All weights by CoreNet's name, with the shapes that <see cref="TensorShapes"/> says.</summary>
    public ImmutableDictionary<string, StoredWeight> Weights { get; }

    /// <summary>The SentencePiece model that came with the weights, or null; read or put together when it is first asked for.</summary>
    /// <exception cref="OpenElmException">It cannot be read.</exception>
    public ReadOnlyMemory<byte>? Tokenizer => TokenizerSource is null ? null : _tokenizer ??= TokenizerSource();

    /// <summary>Sentences on what the files do not say and was derived or assumed.</summary>
    public ImmutableArray<string> Notes { get; internal init; } = [];

    /// <summary>Makes the bytes of the tokenizer, or null if there is none.</summary>
    internal Func<ReadOnlyMemory<byte>?>? TokenizerSource { get; init; }

    /// <summary>Opens a model of any known format; the format is detected from the files.</summary>
    /// <param name="path">The file or folder.</param>
    /// <param name="architecture">The architecture, for CoreNet's files, which do not say theirs; null derives it from the shapes.</param>
    /// <returns>The open checkpoint.</returns>
    /// <exception cref="OpenElmException">There is none, its format is unknown, or it is damaged.</exception>
    public static Checkpoint Open(string path, OpenElmConfig? architecture = null)
    {
        Checkpoint checkpoint = Directory.Exists(path) ? OpenFolder(path) : OpenFile(path, architecture);
        if (architecture is not null && checkpoint.Format != CheckpointFormat.CoreNet)
        {
            checkpoint.Dispose();
            throw new OpenElmException($"{path} says its own architecture; leave the named one (--config) out.");
        }

        return checkpoint;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (IDisposable owner in _owned)
        {
            owner.Dispose();
        }
    }

    static Checkpoint OpenFolder(string path)
    {
        string file = System.IO.Path.Combine(path, ModelFolder.ConfigFile);
        using JsonDocument config = OpenElmConfigJson.ParseFile(file);
        JsonElement root = config.RootElement;
        if (MlxConfig.Is(root))
        {
            return MlxCheckpoint.OpenApple(path, root);
        }

        if (root.ValueKind == JsonValueKind.Object && root.TryGetProperty("quantization", out _))
        {
            return MlxCheckpoint.OpenMlxLm(path, root);
        }

        var folder = ModelFolder.Open(path);
        return new Checkpoint(path, CheckpointFormat.HuggingFace, folder.Config, folder.Weights.ToImmutableDictionary(pair => pair.Key, pair => StoredWeight.Of(pair.Key, pair.Value)), folder)
        {
            TokenizerSource = ModelFolder.TokenizerSource(path),
        };
    }

    static Checkpoint OpenFile(string path, OpenElmConfig? architecture)
    {
        byte[] start = new byte[4];
        bool isLlama2c;
        using (MappedFile file = MappedFile.Open(path))
        {
            file.Bytes(0, (int)Math.Min(start.Length, file.Length)).CopyTo(start);
            isLlama2c = Llama2cCheckpoint.Begins(file);
        }

        if (start.AsSpan().StartsWith("GGUF"u8))
        {
            return GgufCheckpoint.Open(path);
        }

        if (start.AsSpan().StartsWith("PK"u8))
        {
            var zip = StoredZip.Open(path);
            if (TorchArchive.Is(zip))
            {
                return CoreNetCheckpoint.Open(zip, architecture);
            }

            zip.Dispose();
            throw new OpenElmException($"{path} is a zip archive that torch.save did not write; of MLX's weights.npz, name the folder.");
        }

        if (start is [0x80, 0x02, 0x8A, 0x0A, ..])
        {
            throw new OpenElmException($"{path} was saved by a torch before 1.6; load it with a newer one and save it again.");
        }

        return isLlama2c
            ? Llama2cCheckpoint.Open(path)
            : throw new OpenElmException($"{path} is of no known format: it begins neither as GGUF, nor as torch's archive, nor as a llama2.c checkpoint; of a model in several files, name the folder.");
    }
}
