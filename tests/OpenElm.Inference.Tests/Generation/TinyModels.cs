using OpenElm.Checkpoints;
using OpenElm.Configuration;

namespace OpenElm.Inference.Tests.Generation;

/// <summary>Random models so small that thousands of outputs take seconds.</summary>
internal static class TinyModels
{
    public static OpenElmConfig Config(int vocab) => new()
    {
        VocabSize = vocab,
        MaxContextLength = 128,
        RopeMaxLength = 128,
        NumTransformerLayers = 2,
        ModelDim = 16,
        HeadDim = 8,
        FfnMultipliers = 2.0,
        FfnDimDivisor = 8,
        ShareInputOutputLayers = true,
        EosTokenId = 2,
    };

    /// <summary>A model; other seeds give unrelated ones, noise gives one that mostly agrees.</summary>
    public static TextModel Create(int vocab, int seed = 1, double noise = 0, int? rows = null, float sharpness = 4)
    {
        OpenElmConfig config = Config(rows ?? vocab);
        Dictionary<string, ReadOnlyMemory<float>> weights = TestModels.Weights(RandomModel.Create(config, seed));
        var random = new Random(seed);
        foreach ((string name, ReadOnlyMemory<float> values) in weights.ToArray())
        {
            // Sharper than a fresh model, so that distributions are far from uniform.
            float scale = name == TensorNames.Embedding ? sharpness : 1;
            weights[name] = values.ToArray().Select(value => (value * scale) + (float)(noise * (random.NextDouble() - 0.5))).ToArray();
        }

        return TextModel.Of(OpenElmModel.Create(config, weights, new InferenceOptions { Threads = 1 }), null);
    }
}
