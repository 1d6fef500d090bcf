using OpenElm.Checkpoints;
using OpenElm.Configuration;
using OpenElm.Inference.Tests;
using static OpenElm.Inference.Cuda.Tests.GpuModels;

namespace OpenElm.Inference.Cuda.Tests;

/// <summary>What only <c>bench norms</c> asks for: LayerNorm in the place of RMSNorm, and a kernel for each operation.</summary>
[Collection(nameof(OneGpu))]
public sealed class NormTests
{
    const double Fp32 = 1e-4; // docs/numerics.md: order of sums

    // Heads of 32, 64 and 128; narrow heads and a width that ends within a chunk; heads that no step takes, and widths of no fours.
    static readonly OpenElmConfig[] Models =
    [
        TestModels.Blocked,
        TestModels.Blocked with { HeadDim = 64, NumTransformerLayers = 3, QkvMultipliers = (0.5, 2.0), FfnMultipliers = (1.0, 3.0), ShareInputOutputLayers = false },
        TestModels.Blocked with { HeadDim = 128, QueryHeadsPerKvHead = 1, FfnWithGlu = false },
        TestModels.Blocked with { NormalizeQkProjections = false },
        TestModels.Blocked with { HeadDim = 8, ModelDim = 264, FfnDimDivisor = 8, FfnMultipliers = (0.7, 1.6) },
        TestModels.Layerwise,
        TestModels.Layerwise with { ModelDim = 90, QueryHeadsPerKvHead = 1 },
    ];

    public static TheoryData<int> Indices => [.. Enumerable.Range(0, Models.Length)];

    [Theory, MemberData(nameof(Indices))]
    public void With_LayerNorm_prompts_and_tokens_one_by_one_have_the_logits_of_the_formula(int index)
    {
        InferenceOptions options = On(CudaPrecision.Fp32) with { LayerNorm = true };
        (OpenElmConfig config, Dictionary<string, ReadOnlyMemory<float>> weights) = (Models[index], Weights(Models[index]));
        int[] tokens = TestModels.Tokens(20, config.VocabSize);
        float[] expected = new LayerNormReference(config, weights).Logits(tokens);
        using (OpenElmModel model = OpenElmModel.Create(config, weights, options))
        {
            Assert.Equal(config.HeadDim == 18, model.KernelName.EndsWith("-rows", StringComparison.Ordinal));
            Close.Assert(expected, Whole(model, tokens), Fp32);
            Close.Assert(expected, OneByOne(model, tokens), Fp32);
        }

        using OpenElmModel apart = OpenElmModel.Create(config, weights, options with { KernelsApart = true });
        Close.Assert(expected, OneByOne(apart, tokens), Fp32);
    }

    [Fact]
    public void With_LayerNorm_in_bfloat16_prompts_steps_and_few_rows_stay_near_the_formula()
    {
        InferenceOptions options = On(CudaPrecision.Bf16) with { LayerNorm = true };
        (OpenElmConfig config, Dictionary<string, ReadOnlyMemory<float>> weights) = (Models[1], Weights(Models[1]));
        int[] tokens = TestModels.Tokens(24, config.VocabSize);
        float[] expected = new LayerNormReference(config, weights).Logits(tokens);
        using OpenElmModel model = OpenElmModel.Create(config, weights, options);
        Near(expected, Whole(model, tokens));
        Near(expected, OneByOne(model, tokens));
        Near([.. expected.Take(5 * config.VocabSize)], Whole(model, tokens[..5]));
    }

    [Theory, MemberData(nameof(Indices))]
    public void With_kernels_of_their_own_tokens_one_by_one_have_the_logits_of_the_processor(int index)
    {
        InferenceOptions options = On(CudaPrecision.Fp32) with { KernelsApart = true };
        (OpenElmConfig config, Dictionary<string, ReadOnlyMemory<float>> weights) = (Models[index], Weights(Models[index]));
        int[] tokens = TestModels.Tokens(20, config.VocabSize);
        using OpenElmModel processor = OpenElmModel.Create(config, weights), model = OpenElmModel.Create(config, weights, options);
        float[] expected = Whole(processor, tokens);
        Assert.EndsWith("-rows", model.KernelName, StringComparison.Ordinal);
        Close.Assert(expected, OneByOne(model, tokens), Fp32);
    }

    // What is measured: chains in bfloat16, of steps, or of recorded kernels, whose products of few rows would have the norms in them.
    [Theory, InlineData(true, false), InlineData(true, true), InlineData(false, true)]
    public void Chains_choose_what_is_most_likely(bool kernelsApart, bool layerNorm)
    {
        InferenceOptions options = On(CudaPrecision.Bf16) with { KernelsApart = kernelsApart, LayerNorm = layerNorm };
        (OpenElmConfig config, Dictionary<string, ReadOnlyMemory<float>> weights) = (Models[1], Weights(Models[1]));
        using OpenElmModel model = OpenElmModel.Create(config, weights, options);
        using SequenceState state = model.CreateState(12);
        float[] logits = new float[config.VocabSize];
        List<int> tokens = [.. TestModels.Tokens(4, config.VocabSize)];
        model.Prefill(tokens.ToArray(), state, logits);
        tokens.Add(Array.IndexOf(logits, logits.Max()));
        using (TokenChain chain = Assert.IsAssignableFrom<TokenChain>(model.Begin(tokens[4], state, config.VocabSize, null)))
        {
            while (tokens.Count < 12)
            {
                tokens.Add(chain.Next(out _));
            }
        }

        float[] expected = layerNorm ? new LayerNormReference(config, weights).Logits([.. tokens]) : Whole(OpenElmModel.Create(config, weights), [.. tokens]);
        for (int i = 4; i < tokens.Count; i++)
        {
            float[] own = expected.AsSpan((i - 1) * config.VocabSize, config.VocabSize).ToArray();
            double size = Math.Sqrt(own.Average(logit => (double)logit * logit));
            Assert.InRange(own.Max() - own[tokens[i]], 0, 0.06 * size); // the most likely, or as good as that
        }
    }

    [Fact]
    public void LayerNorm_is_refused_for_blocks()
    {
        InferenceOptions options = On(CudaPrecision.Bf16) with { LayerNorm = true };
        string file = Path.Combine(Path.GetTempPath(), $"openelm-{Guid.NewGuid():N}.gguf");
        try
        {
            TestModels.WriteBlocked(file, DType.Q8_0);
            Assert.Contains("this model's are packed in blocks", Assert.Throws<OpenElmException>(() => OpenElmModel.Load(file, options)).Message, StringComparison.Ordinal);
        }
        finally
        {
            File.Delete(file);
        }
    }

    [Fact]
    public void The_processor_refuses_both()
    {
        foreach (InferenceOptions options in (InferenceOptions[])[new() { LayerNorm = true }, new() { KernelsApart = true }])
        {
            Assert.Contains("on a GPU only", Assert.Throws<OpenElmException>(() => OpenElmModel.CreateRandom(TestModels.Blocked, options)).Message, StringComparison.Ordinal);
        }
    }

    // Norms that differ from number to number, and matrices whose numbers have a mean, so that activations have one.
    static Dictionary<string, ReadOnlyMemory<float>> Weights(OpenElmConfig config)
    {
        var random = new Random(9);
        Dictionary<string, ReadOnlyMemory<float>> weights = TestModels.Weights(RandomModel.Create(config, seed: 1));
        float mean = (float)(0.5 * RandomModel.StandardDeviation(config, TensorNames.Embedding));
        return weights.ToDictionary(weight => weight.Key, weight => (ReadOnlyMemory<float>)weight.Value.ToArray()
            .Select(w => weight.Key.EndsWith("norm.weight", StringComparison.Ordinal) ? 0.5f + random.NextSingle() : weight.Key == TensorNames.Embedding ? w + mean : w).ToArray());
    }
}
