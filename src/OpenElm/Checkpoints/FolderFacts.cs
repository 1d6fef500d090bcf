using System.Collections.Immutable;
using OpenElm.Configuration;
using OpenElm.Tokenization;

namespace OpenElm.Checkpoints;

/// <summary>One file of a model folder.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Bytes">Its size.</param>
public readonly record struct FolderFile(string Name, long Bytes);

/// <summary>The weights of one element type.</summary>
/// <param name="Type">The type.</param>
/// <param name="Tensors">How many tensors have it.</param>
/// <param name="Bytes">Their size together.</param>
public readonly record struct FolderWeightType(DType Type, int Tensors, long Bytes);

/// <summary>A folder's tokenizer.</summary>
/// <param name="File">The file's name.</param>
/// <param name="Pieces">Entries of the vocabulary; rows of the embedding beyond them are padding.</param>
/// <param name="BosId">The piece that begins a text, or -1.</param>
/// <param name="EosId">The piece that ends a text, or -1.</param>
/// <param name="UnknownId">The piece for what cannot be said.</param>
/// <param name="PadId">The id that stands for no token.</param>
public readonly record struct FolderTokenizer(string File, int Pieces, int BosId, int EosId, int UnknownId, int PadId);

/// <summary>What a model folder holds; the headers of the weights are read and checked, the weights are not.</summary>
/// <param name="Config">The architecture.</param>
/// <param name="Files">Every file, by name.</param>
/// <param name="WeightTypes">The element types of the weights.</param>
/// <param name="Tokenizer">The tokenizer, or null if the folder has none.</param>
public sealed record FolderFacts(
    OpenElmConfig Config, ImmutableArray<FolderFile> Files, ImmutableArray<FolderWeightType> WeightTypes, FolderTokenizer? Tokenizer)
{
    /// <summary>Reads a folder.</summary>
    /// <param name="path">The folder.</param>
    /// <returns>The facts.</returns>
    /// <exception cref="OpenElmException">The folder is no whole model.</exception>
    public static FolderFacts Read(string path)
    {
        using ModelFolder folder = ModelFolder.Open(path);
        return new FolderFacts(
            folder.Config,
            [.. new DirectoryInfo(path).GetFiles().OrderBy(file => file.Name, StringComparer.Ordinal).Select(file => new FolderFile(file.Name, file.Length))],
            [.. folder.Weights.Values.GroupBy(weight => weight.DType).OrderBy(type => type.Key)
                .Select(type => new FolderWeightType(type.Key, type.Count(), type.Sum(weight => weight.ByteCount)))],
            folder.TokenizerPath is { } tokenizer ? Describe(tokenizer) : null);
    }

    static FolderTokenizer Describe(string path)
    {
        SentencePieceTokenizer tokenizer = SentencePieceTokenizer.Load(path);
        return new FolderTokenizer(
            Path.GetFileName(path), tokenizer.PieceCount, tokenizer.BosId, tokenizer.EosId, tokenizer.UnknownId, tokenizer.PadId);
    }
}
