using OpenElm.Cuda;
using OpenElm.Inference.Generation;
using OpenElm.Inference.Sampling;
using OpenElm.Inference.Tests;

namespace OpenElm.Inference.Cuda.Tests;

/// <summary>Draws on the device against the sampler on the processor: the same logits and random numbers, the same tokens.</summary>
[Collection(nameof(OneGpu))]
public sealed class DrawTests
{
    public DrawTests() => Assert.SkipUnless(CudaInferenceDevice.TryOpen(CudaPrecision.Fp32, out string? reason) is not null, $"no GPU here: {reason}");

    public static TheoryData<double, int, double, double> Rules => new()
    {
        { 1, 0, 1, 0 }, { 0.7, 0, 1, 0 }, { 1.3, 40, 1, 0 }, { 1, 1, 1, 0 }, { 0.8, 0, 0.9, 0 }, { 1.5, 0, 0.3, 0 }, { 1, 0, 1e-6, 0 }, { 2, 0, 0.9999, 0 }, { 1, 0, 1, 0.05 }, { 1, 0, 1, 1 },
        { 0.9, 50, 0.95, 0.02 }, { 3, 5000, 0.5, 0.001 },
    };

    [Theory, MemberData(nameof(Rules))]
    public void The_token_is_the_samplers(double temperature, int topK, double topP, double minP)
    {
        var options = new SamplingOptions { Temperature = temperature, TopK = topK, TopP = topP, MinP = minP, Seed = 5 };
        var random = new Random(3);
        foreach ((int candidates, int draws) in new[] { (131, 40), (1024, 20), (5001, 8) })
        {
            ISampler sampler = options.CreateSampler();
            using var device = new Draws(options.RuleOf(options.CreateSampler())!, candidates);
            for (int i = 0; i < draws; i++)
            {
                float[] logits = [.. Enumerable.Range(0, candidates + 7).Select(_ => (float)(2.5 * (random.NextDouble() + random.NextDouble() + random.NextDouble() - 1.5) * (1 + (i % 4))))];
                (int token, float largest) = device.Next(logits);
                Assert.Equal(logits.AsSpan(0, candidates).ToArray().Max(), largest);
                Assert.Equal(sampler.Sample([], logits.AsSpan(0, candidates).ToArray()), token);
            }
        }
    }

    // Equal logits: at the bound of top-k all stay; of all that are equal top-p keeps the fewest; infinite ones are never drawn.
    [Fact]
    public void Ties_and_infinite_logits_are_drawn_from_as_the_rule_says()
    {
        float[] logits = [.. Enumerable.Range(0, 100).Select(i => i < 20 ? 3f : i < 90 ? -1f : float.NegativeInfinity)];
        Assert.Equal(20, Distinct(new SamplingOptions { Temperature = 1, TopK = 5 }).Count);
        Assert.All(Distinct(new SamplingOptions { Temperature = 1, TopK = 5 }), token => Assert.InRange(token, 0, 19));
        Assert.Equal(10, Distinct(new SamplingOptions { Temperature = 0.01, TopP = 0.46 }).Count); // 1/20 each: nine are not more than 0.46 of all, ten are
        Assert.InRange(Distinct(new SamplingOptions { Temperature = 1000 }).Count, 60, 90);
        Assert.All(Distinct(new SamplingOptions { Temperature = 1000 }), token => Assert.InRange(token, 0, 89));

        HashSet<int> Distinct(SamplingOptions options)
        {
            using var device = new Draws(options.RuleOf(options.CreateSampler())!, logits.Length);
            return [.. Enumerable.Range(0, 300).Select(_ => device.Next(logits).Token)];
        }
    }

    [Theory, InlineData(float.NaN), InlineData(float.PositiveInfinity)]
    public void Logits_that_are_no_numbers_are_reported(float wrong)
    {
        var options = new SamplingOptions { Temperature = 1, TopP = 0.9 };
        using var device = new Draws(options.RuleOf(options.CreateSampler())!, 50);
        float[] logits = new float[50];
        logits[37] = wrong;
        (int token, float largest) = device.Next(logits);
        Assert.Equal((-1, wrong), (token, largest));
        using var hot = new Draws(new DrawRule(1e-38f, 0, 0, 0, new Random(1)), 50);
        logits[37] = 40;
        Assert.Equal((-1, 40f), hot.Next(logits));
    }

    // A bias of 0 changes nothing but that the host has to see the logits.
    [Theory, InlineData(KvCacheType.F32, 0.8, 0, 0.9), InlineData(KvCacheType.F32, 1.2, 20, 1), InlineData(KvCacheType.I8, 0.9, 0, 0.95)]
    public void Generation_draws_the_same_on_the_device_and_on_the_host(KvCacheType cache, double temperature, int topK, double topP)
    {
        CudaInferenceDevice device = CudaInferenceDevice.TryOpen(CudaPrecision.Fp32, out _)!;
        var inference = new InferenceOptions { Device = device, KvCache = cache };
        using var text = TextModel.Of(cache == KvCacheType.I8 ? TestModels.Random(TestModels.Blocked, inference) : TestModels.Stories(inference), null); // the stories' heads have 8 numbers
        var sampling = new SamplingOptions { Temperature = temperature, TopK = topK, TopP = topP, Seed = 9 };
        int[] Generate(SamplingOptions options) => [.. text.Generate(new[] { 1, 40, 107 }, new GenerationOptions { MaxTokens = 30, IgnoreEos = true, Sampling = options })];
        SamplingOptions onHost = sampling with { LogitBias = sampling.LogitBias.Add(5, 0) };
        Assert.NotNull(sampling.RuleOf(sampling.CreateSampler()));
        Assert.Null(onHost.RuleOf(onHost.CreateSampler()));
        int[] expected = Generate(onHost);
        Assert.Equal(expected, Generate(sampling));
        Assert.NotEqual(expected, Generate(sampling with { Seed = 10 }));
    }

    [Fact]
    public void Samplers_that_need_the_text_or_typical_p_stay_on_the_host()
    {
        var plain = new SamplingOptions { Temperature = 1 };
        Assert.All(
            new[] { plain with { RepetitionPenalty = 1.1 }, plain with { FrequencyPenalty = 0.1 }, plain with { PresencePenalty = 0.1 }, plain with { TypicalP = 0.9 }, plain with { Temperature = 0 } },
            options => Assert.Null(options.RuleOf(options.CreateSampler())));
    }

    sealed class Draws : IDisposable
    {
        const int Places = 3;

        readonly CudaStream _stream;
        readonly KernelModule _module;
        readonly TokenDraw _draw;
        readonly DeviceMemory _logits, _state;
        readonly MappedMemory<int> _chosen = new(2 * Places);
        int _steps;

        public Draws(DrawRule rule, int candidates)
        {
            var device = new CudaDevice();
            _stream = new CudaStream();
            _module = new KernelModule(DecodeKernels.Compile("draw", device.ComputeCapability, TestModels.Blocked, CudaPrecision.Fp32, null));
            _draw = new TokenDraw(_module, rule, candidates, Places);
            (_logits, _state) = (new DeviceMemory((candidates + 7) * sizeof(float)), new DeviceMemory(2 * sizeof(int)));
        }

        public (int Token, float Largest) Next(float[] logits)
        {
            int place = _steps++ % Places;
            CudaDevice.Copy<float>(logits, _logits.Address, _stream.Handle);
            _draw.Prepare(place);
            _draw.Launch(_stream.Handle, _logits.Address, _state.Address, isRow: false, _chosen.Address, place);
            CudaDevice.Synchronize(_stream.Handle);
            return (_chosen.Values[2 * place], BitConverter.Int32BitsToSingle(_chosen.Values[(2 * place) + 1]));
        }

        public void Dispose()
        {
            _draw.Dispose();
            _module.Dispose();
            _logits.Dispose();
            _state.Dispose();
            _chosen.Dispose();
            _stream.Dispose();
        }
    }
}
