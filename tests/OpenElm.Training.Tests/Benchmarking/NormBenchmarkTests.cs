using OpenElm.Configuration;
using OpenElm.Training.Benchmarking;
using static TorchSharp.torch;

namespace OpenElm.Training.Tests.Benchmarking;

public sealed class NormBenchmarkTests
{
    static readonly OpenElmConfig Small = new()
    {
        VocabSize = 96,
        MaxContextLength = 16,
        NumTransformerLayers = 3,
        ModelDim = 48,
        HeadDim = 8,
        QkvMultipliers = (0.5, 1.0),
        QueryHeadsPerKvHead = 2,
        FfnMultipliers = (0.5, 2.0),
        FfnDimDivisor = 8,
        NormalizeQkProjections = true,
        ShareInputOutputLayers = true,
    };

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Cached_decoding_gives_the_logits_of_the_whole_pass(bool openElm)
    {
        OpenElmConfig config = openElm ? Small : Small with { NormalizeQkProjections = false, ShareInputOutputLayers = false, QueryHeadsPerKvHead = 1 };
        using var module = new OpenElmModule(config);
        module.Initialize(seed: 3);
        long[] ids = [5, 17, 2, 90, 41, 41, 7];
        using Tensor expected = module.forward(tensor(ids).unsqueeze(0)); // [1, 7, vocab]
        foreach (NormKind kind in new[] { NormKind.NaiveRmsNorm, NormKind.FusedRmsNorm })
        {
            using var decoder = new EagerDecoder(module, new NormKernels(kind), ids.Length);
            RequireClose(expected.select(1, 3), decoder.Step(tensor(ids[..4]).unsqueeze(0), 0));
            for (int i = 4; i < ids.Length; i++)
            {
                RequireClose(expected.select(1, i), decoder.Step(tensor(ids[i..(i + 1)]).unsqueeze(0), i));
            }
        }

        static void RequireClose(Tensor expected, Tensor actual) => Assert.InRange((expected - actual).abs().max().item<float>(), 0, 2e-5f);
    }

    [Fact]
    public void LayerNorm_centres_scales_and_weighs()
    {
        float[] x = [1, 2, 4, 9], weight = [1, -2, 0.5f, 3];
        (double mean, double variance) = (4, 9.5);
        using Tensor y = new NormKernels(NormKind.LayerNorm).RmsNorm(tensor(x).view(1, 1, 4), tensor(weight), 1e-6);
        Assert.Equal([.. x.Select((value, i) => (value - mean) / Math.Sqrt(variance + 1e-6) * weight[i])], y.data<float>().Select(value => (double)value), (a, b) => Math.Abs(a - b) < 1e-6);
    }

    [Fact]
    public void Models_have_the_norms_and_the_size_of_the_paper()
    {
        Assert.Equal(113, NormBenchmark.CountNorms(NamedConfigs.Get("openelm-1.1b")));
        Assert.Equal(33, NormBenchmark.CountNorms(NormBenchmark.OlmoShaped));
        Assert.Equal(1.18, ParameterCount.Of(NormBenchmark.OlmoShaped).Total / 1e9, 2);
    }

    [Fact]
    public void Impossible_lengths_are_refused() =>
        Assert.Throws<OpenElmException>(() => NormBenchmark.Run(new NormBenchmarkOptions { Config = Small, GeneratedTokens = 1 }, [], TestContext.Current.CancellationToken));
}
