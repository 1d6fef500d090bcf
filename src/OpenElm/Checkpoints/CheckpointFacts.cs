using System.Collections.Immutable;
using OpenElm.Configuration;
using OpenElm.IO;
using OpenElm.Tokenization;

namespace OpenElm.Checkpoints;

/// <summary>One file of a checkpoint.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Bytes">Its size.</param>
public readonly record struct CheckpointFile(string Name, long Bytes);

/// <summary>The weights of one element type.</summary>
/// <param name="Type">The type.</param>
/// <param name="Tensors">How many tensors have it.</param>
/// <param name="Bytes">Their size together.</param>
public readonly record struct CheckpointWeightType(DType Type, int Tensors, long Bytes);

/// <summary>A checkpoint's tokenizer.</summary>
/// <param name="Pieces">Entries of the vocabulary; rows of the embedding beyond them are padding.</param>
/// <param name="BosId">The piece that begins a text, or -1.</param>
/// <param name="EosId">The piece that ends a text, or -1.</param>
/// <param name="UnknownId">The piece for what cannot be said.</param>
/// <param name="PadId">The id that stands for no token.</param>
public readonly record struct CheckpointTokenizer(int Pieces, int BosId, int EosId, int UnknownId, int PadId);

/// <summary>What a checkpoint of any format holds; the headers of the weights are read and checked, the weights are not.</summary>
/// <param name="Format">The format.</param>
/// <param name="Config">The architecture.</param>
/// <param name="Notes">What the files do not say and was derived or assumed.</param>
/// <param name="Files">The file, or every file of the folder, by name.</param>
/// <param name="WeightTypes">The element types of the weights, as they are opened.</param>
/// <param name="Tokenizer">The tokenizer, or null if there is none.</param>
public sealed record CheckpointFacts(
    CheckpointFormat Format, OpenElmConfig Config, ImmutableArray<string> Notes, ImmutableArray<CheckpointFile> Files, ImmutableArray<CheckpointWeightType> WeightTypes, CheckpointTokenizer? Tokenizer)
{
    /// <summary>Reads the facts.</summary>
    /// <param name="path">The file or folder.</param>
    /// <param name="architecture">The architecture, for formats that do not say it.</param>
    /// <returns>The facts.</returns>
    /// <exception cref="OpenElmException">It is no whole model.</exception>
    public static CheckpointFacts Read(string path, OpenElmConfig? architecture = null)
    {
        using var checkpoint = Checkpoint.Open(path, architecture);
        FileInfo[] files = Directory.Exists(path) ? new DirectoryInfo(path).GetFiles() : [new FileInfo(path)];
        return new CheckpointFacts(
            checkpoint.Format,
            checkpoint.Config,
            checkpoint.Notes,
            [.. files.OrderBy(file => file.Name, StringComparer.Ordinal).Select(file => new CheckpointFile(file.Name, file.LengthBehindLinks()))],
            [.. checkpoint.Weights.Values.SelectMany(weight => weight.Parts).GroupBy(part => part.DType).OrderBy(type => type.Key)
                .Select(type => new CheckpointWeightType(type.Key, type.Count(), type.Sum(part => part.ByteCount)))],
            checkpoint.Tokenizer is { } tokenizer ? Describe(tokenizer) : null);
    }

    static CheckpointTokenizer Describe(ReadOnlyMemory<byte> model)
    {
        SentencePieceTokenizer tokenizer = SentencePieceTokenizer.Parse(model.Span);
        return new CheckpointTokenizer(tokenizer.PieceCount, tokenizer.BosId, tokenizer.EosId, tokenizer.UnknownId, tokenizer.PadId);
    }
}
