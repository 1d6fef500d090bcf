using OpenElm.Checkpoints;
using OpenElm.Configuration;

namespace OpenElm.Inference.Tests;

/// <summary>Small models with random weights, and the trained stories260K.</summary>
internal static class TestModels
{
    /// <summary>Four layers of different widths, grouped queries; neither head size nor feed-forward widths are multiples of a vector.</summary>
    public static OpenElmConfig Layerwise { get; } = new OpenElmConfig
    {
        VocabSize = 131,
        MaxContextLength = 200,
        RopeMaxLength = 400,
        NumTransformerLayers = 4,
        ModelDim = 72,
        HeadDim = 18,
        QueryHeadsPerKvHead = 2,
        QkvMultipliers = (0.5, 1.0),
        FfnMultipliers = (0.5, 4.0),
        FfnDimDivisor = 11,
        NormalizeQkProjections = true,
        ShareInputOutputLayers = true,
    };

    public static OpenElmModel Random(OpenElmConfig config, InferenceOptions? options = null, int seed = 1) =>
        OpenElmModel.Create(config, Weights(RandomModel.Create(config, seed)), options);

    public static Dictionary<string, ReadOnlyMemory<float>> Weights(ModelContent content) => content.Weights.ToDictionary(weight => weight.Name, weight =>
    {
        using var bytes = new MemoryStream();
        weight.Write(bytes);
        return (ReadOnlyMemory<float>)System.Runtime.InteropServices.MemoryMarshal.Cast<byte, float>(bytes.ToArray()).ToArray();
    });

    public static string StoriesFolder => Path.Combine(RepositoryFiles.Root, "samples", "stories260k");

    public static OpenElmModel Stories(InferenceOptions? options = null) => OpenElmModel.Load(Path.Combine(StoriesFolder, "stories260K.bin"), options);

    public static int[] Tokens(int count, int vocab, int seed = 3)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(_ => random.Next(vocab))];
    }
}
