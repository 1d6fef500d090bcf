using System.Collections.Immutable;
using OpenElm.Configuration;

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

/// <summary>What a model folder holds; the headers of the weights are read and checked, the weights are not.</summary>
/// <param name="Config">The architecture.</param>
/// <param name="Files">Every file, by name.</param>
/// <param name="WeightTypes">The element types of the weights.</param>
/// <param name="TokenizerPath">The tokenizer's file, or null.</param>
public sealed record FolderFacts(
    OpenElmConfig Config, ImmutableArray<FolderFile> Files, ImmutableArray<FolderWeightType> WeightTypes, string? TokenizerPath)
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
            folder.TokenizerPath);
    }
}
