using System.Collections.Immutable;
using OpenElm.Configuration;

namespace OpenElm.Checkpoints;

/// <summary>The formats that <see cref="Checkpoint.Open"/> recognises.</summary>
public enum CheckpointFormat
{
    /// <summary>Hugging Face's folder: <c>config.json</c> and safetensors, single or in shards.</summary>
    HuggingFace,

    /// <summary>llama.cpp's file.</summary>
    Gguf,
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
    /// <returns>The open checkpoint.</returns>
    /// <exception cref="OpenElmException">There is none, its format is unknown, or it is damaged.</exception>
    public static Checkpoint Open(string path)
    {
        if (File.Exists(path))
        {
            return Gguf.GgufCheckpoint.Open(path);
        }

        var folder = ModelFolder.Open(path);
        return new Checkpoint(path, CheckpointFormat.HuggingFace, folder.Config, folder.Weights.ToImmutableDictionary(pair => pair.Key, pair => StoredWeight.Of(pair.Key, pair.Value)), folder)
        {
            TokenizerSource = folder.ReadTokenizer,
        };
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (IDisposable owner in _owned)
        {
            owner.Dispose();
        }
    }
}
