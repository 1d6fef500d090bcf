using OpenElm.Checkpoints;
using OpenElm.Checkpoints.Gguf;
using OpenElm.Configuration;
using OpenElm.Quantization;

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

    /// <summary>Widths that are multiples of every block, so that every stored type fits; an odd vocabulary.</summary>
    public static OpenElmConfig Blocked { get; } = Layerwise with
    {
        NumTransformerLayers = 2,
        ModelDim = 256,
        HeadDim = 32,
        FfnDimDivisor = 256,
        FfnMultipliers = (1.0, 2.0),
        QkvMultipliers = (1.0, 1.0),
    };

    /// <summary>Writes a random model whose matrices are stored in one type.</summary>
    /// <param name="path">The GGUF file.</param>
    /// <param name="dtype">The type; norms are floats.</param>
    /// <param name="config">The architecture; <see cref="Blocked"/> if it is left out.</param>
    public static void WriteBlocked(string path, DType dtype, OpenElmConfig? config = null) => WriteBlocked(path, _ => dtype, config ?? Blocked);

    /// <summary>Writes a random model whose matrices are stored in types of their own.</summary>
    /// <param name="path">The GGUF file.</param>
    /// <param name="dtypeOf">The type of a matrix, by its name; norms are floats.</param>
    /// <param name="config">The architecture.</param>
    public static void WriteBlocked(string path, Func<string, DType> dtypeOf, OpenElmConfig config)
    {
        Dictionary<string, ReadOnlyMemory<float>> weights = Weights(RandomModel.Create(config, seed: 5));
        GgufWriter.Write(path, new ModelContent(config, [.. TensorShapes.Of(config).Select(shape => shape.Shape.Length == 1
            ? TensorSource.Of(shape.Name, shape.Shape, weights[shape.Name])
            : new TensorSource(shape.Name, dtypeOf(shape.Name), shape.Shape, stream =>
            {
                DType dtype = dtypeOf(shape.Name);
                if (!dtype.IsBlocked())
                {
                    stream.Write(FloatEncoding.Encode(weights[shape.Name].Span, dtype));
                    return;
                }

                byte[] blocks = new byte[dtype.ByteCount(shape.Shape)];
                BlockFormats.Quantize(dtype, weights[shape.Name].Span, blocks);
                stream.Write(blocks);
            }))]));
    }

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
