using OpenElm.Checkpoints;
using OpenElm.Configuration;
using OpenElm.Inference.Generation;
using OpenElm.Inference.Tests;
using OpenElm.Verification.Golden;
using OpenElm.Verification.Gpu;
using static OpenElm.Inference.Cuda.Tests.GpuModels;

namespace OpenElm.Inference.Cuda.Tests;

/// <summary>The runtime on a GPU against the one on the CPU, in single precision and in bfloat16.</summary>
[Collection(nameof(OneGpu))]
public sealed class DeviceTests
{
    const double Fp32 = 1e-4; // docs/numerics.md: order of sums

    // Grouped queries and layers of different widths; heads of 32, 64 and 128; an odd vocabulary.
    static readonly OpenElmConfig[] Models =
    [
        TestModels.Blocked,
        TestModels.Blocked with { HeadDim = 64, NumTransformerLayers = 3, QkvMultipliers = (0.5, 2.0), FfnMultipliers = (1.0, 3.0), ShareInputOutputLayers = false },
        TestModels.Blocked with { HeadDim = 128, QueryHeadsPerKvHead = 1, NormalizeQkProjections = false, FfnWithGlu = false },
        TestModels.Layerwise,
    ];

    public static TheoryData<int> Indices => [.. Enumerable.Range(0, Models.Length)];

    [Theory, MemberData(nameof(Indices))]
    public void A_prompt_has_the_logits_of_the_processor(int index)
    {
        InferenceOptions options = On(CudaPrecision.Fp32);
        int[] tokens = TestModels.Tokens(70, Models[index].VocabSize);
        float[] expected = Whole(TestModels.Random(Models[index]), tokens), actual = Whole(TestModels.Random(Models[index], options), tokens);
        Close.Assert(expected, actual, Fp32);
    }

    [Theory, MemberData(nameof(Indices))]
    public void Token_by_token_the_logits_are_those_of_the_processor(int index)
    {
        InferenceOptions options = On(CudaPrecision.Fp32);
        int[] tokens = TestModels.Tokens(24, Models[index].VocabSize);
        Close.Assert(Whole(TestModels.Random(Models[index]), tokens), OneByOne(TestModels.Random(Models[index], options), tokens), Fp32);
    }

    [Fact]
    public void Behind_a_long_prompt_a_step_shares_the_sequence_among_blocks()
    {
        InferenceOptions options = On(CudaPrecision.Fp32);
        OpenElmConfig config = Models[1] with { MaxContextLength = 400, RopeMaxLength = 800 };
        int[] tokens = TestModels.Tokens(300, config.VocabSize);
        float[] expected = Whole(TestModels.Random(config), tokens);
        using OpenElmModel model = TestModels.Random(config, options);
        using SequenceState state = model.CreateState(300);
        float[] logits = new float[config.VocabSize];
        model.Prefill(tokens.AsSpan(0, 297), state, logits);
        for (int i = 297; i < 300; i++)
        {
            model.Decode(tokens[i], state, logits);
            Close.Assert(expected.AsSpan(i * config.VocabSize, config.VocabSize), logits, Fp32);
        }
    }

    // Of 512 bytes each, far more than the barriers that their arrivals share are on their way without reaching the limit in bytes.
    [Fact]
    public void A_past_of_many_small_tiles_passes_through_the_ring()
    {
        InferenceOptions options = On(CudaPrecision.Bf16);
        const int Past = 1100;
        OpenElmConfig config = TestModels.Blocked with { HeadDim = 8, NumTransformerLayers = 1, MaxContextLength = 2 * Past, RopeMaxLength = 2 * Past };
        int[] tokens = TestModels.Tokens(Past + 1, config.VocabSize);
        float[] expected = Whole(TestModels.Random(config), tokens), logits = new float[config.VocabSize];
        using OpenElmModel model = TestModels.Random(config, options with { StepVariant = StepVariant.All.Length - 1 });
        using SequenceState state = model.CreateState(Past + 1);
        model.Prefill(tokens.AsSpan(0, Past), state, logits);
        model.Decode(tokens[Past], state, logits);
        Near(expected.AsSpan(Past * config.VocabSize).ToArray(), logits);
    }

    [Fact]
    public void In_bfloat16_prompt_and_steps_stay_near_the_processor()
    {
        InferenceOptions options = On(CudaPrecision.Bf16);
        int[] tokens = TestModels.Tokens(12, Models[0].VocabSize);
        float[] expected = Whole(TestModels.Random(Models[0]), tokens);
        Near(expected, Whole(TestModels.Random(Models[0], options), tokens));
        Near(expected, OneByOne(TestModels.Random(Models[0], options), tokens));
    }

    // docs/numerics.md: 8 bits and a factor for each head of a position.
    [Theory, InlineData(0, CudaPrecision.Fp32), InlineData(1, CudaPrecision.Fp32), InlineData(1, CudaPrecision.Bf16)]
    public void With_a_cache_of_8_bits_prompts_steps_and_copies_stay_near_floats(int index, CudaPrecision precision)
    {
        InferenceOptions options = On(precision) with { KvCache = KvCacheType.I8 };
        int[] tokens = TestModels.Tokens(70, Models[index].VocabSize);
        float[] expected = Whole(TestModels.Random(Models[index]), tokens), prompt = Whole(TestModels.Random(Models[index], options), tokens);
        Assert.InRange(Error(expected, prompt), 1e-4, precision == CudaPrecision.Fp32 ? 0.02 : 0.06);

        using OpenElmModel model = TestModels.Random(Models[index], options);
        Assert.Equal(KvCacheType.I8, model.KvCacheType);
        using SequenceState first = model.CreateState(67), second = model.CreateState(80);
        float[] logits = new float[model.Config.VocabSize];
        model.Prefill(tokens.AsSpan(0, 66), first, logits);
        second.CopyFrom(first);
        for (int i = 66; i < 70; i++)
        {
            model.Decode(tokens[i], second, logits);
            Assert.InRange(Error(prompt.AsSpan(i * logits.Length, logits.Length).ToArray(), logits), 0, precision == CudaPrecision.Fp32 ? 2e-3 : 0.02); // the same rounding, but for an odd half
        }

        static double Error(float[] expected, float[] actual) => Math.Sqrt(expected.Zip(actual, (e, a) => (double)(e - a) * (e - a)).Sum() / expected.Sum(e => (double)e * e));
    }

    [Fact]
    public void Kernels_of_an_unknown_name_are_refused()
    {
        InferenceOptions options = On(CudaPrecision.Fp32) with { Kernels = "avx2" };
        Assert.Contains("none is called avx2", Assert.Throws<OpenElmException>(() => TestModels.Random(TestModels.Blocked, options)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_cache_of_8_bits_is_refused_for_heads_that_are_no_power_of_two()
    {
        InferenceOptions options = On(CudaPrecision.Fp32) with { KvCache = KvCacheType.I8 };
        OpenElmException refusal = Assert.Throws<OpenElmException>(() => TestModels.Random(TestModels.Layerwise, options));
        Assert.Contains("heads of 16, 32, 64, 128 or 256 only; this model's have 18", refusal.Message, StringComparison.Ordinal);
    }

    [Theory, InlineData(0), InlineData(1)]
    public void Passes_of_few_rows_have_the_logits_of_longer_ones(int index)
    {
        InferenceOptions options = On(CudaPrecision.Bf16);
        int vocab = Models[index].VocabSize;
        int[] tokens = TestModels.Tokens(40, vocab);
        float[] expected = Whole(TestModels.Random(Models[index], options), tokens);
        using OpenElmModel model = TestModels.Random(Models[index], options);
        using SequenceState state = model.CreateState(40), other = model.CreateState(40);
        float[] logits = new float[12 * vocab];
        model.Prefill(tokens.AsSpan(0, 20), state, logits);
        Near(19, 1);
        model.Forward(tokens.AsSpan(20, 9), state, 9, logits);
        Near(20, 9);
        model.Forward(tokens.AsSpan(29, 3), state, 2, logits);
        Near(30, 2);
        model.Prefill(tokens.AsSpan(0, 30), other, logits);
        model.Forward([new SequenceRun(state, 1, 1), new SequenceRun(other, 2, 1)], [tokens[32], tokens[30], tokens[31]], logits);
        Near(32, 1);
        Near(31, 1, at: 1);
        model.Forward([new SequenceRun(state, 1, 1), new SequenceRun(other, 1, 1)], [tokens[33], tokens[32]], logits);
        Near(33, 1);
        Near(32, 1, at: 1);

        // Two orders of rounding to 8 bits.
        void Near(int first, int count, int at = 0)
        {
            Span<float> e = expected.AsSpan(first * vocab, count * vocab), a = logits.AsSpan(at * vocab, count * vocab);
            double error = 0, size = 0;
            for (int i = 0; i < e.Length; i++)
            {
                error += ((double)e[i] - a[i]) * ((double)e[i] - a[i]);
                size += (double)e[i] * e[i];
            }

            Assert.InRange(Math.Sqrt(error / size), 0, 0.02);
        }
    }

    [Fact]
    public void Several_sequences_go_through_one_pass()
    {
        InferenceOptions options = On(CudaPrecision.Fp32);
        OpenElmConfig config = Models[1];
        int[] tokens = TestModels.Tokens(15, config.VocabSize);
        float[] expected = Whole(TestModels.Random(config), tokens.AsSpan(0, 5).ToArray());
        using OpenElmModel model = TestModels.Random(config, options);
        using SequenceState first = model.CreateState(10), second = model.CreateState(20);
        float[] logits = new float[6 * config.VocabSize];
        model.Forward([new SequenceRun(first, 10, 1), new SequenceRun(second, 5, 5)], [.. tokens.AsSpan(5), .. tokens.AsSpan(0, 5)], logits);
        Close.Assert(expected, logits.AsSpan(config.VocabSize), Fp32);
    }

    [Theory, InlineData(CudaPrecision.Fp32), InlineData(CudaPrecision.Bf16)]
    public void Passes_of_one_shape_that_are_recorded_give_what_the_first_gave(CudaPrecision precision)
    {
        InferenceOptions options = On(precision);
        OpenElmConfig config = Models[1];
        int[] tokens = TestModels.Tokens(20, config.VocabSize);
        using OpenElmModel model = TestModels.Random(config, options);
        float[] first = new float[tokens.Length * config.VocabSize], other = new float[first.Length], again = new float[first.Length];
        model.ComputeLogits(tokens, 0, first);
        model.ComputeLogits([.. tokens.Reverse()], 0, other);
        model.ComputeLogits(tokens, 0, again);
        Close.Assert(first, again, 1e-5);
        Assert.NotEqual(first, other);
    }

    [Fact]
    public void Sequences_side_by_side_choose_what_each_chooses_alone()
    {
        InferenceOptions options = On(CudaPrecision.Fp32);
        int[][] prompts = [[1, 403, 407], [1, 298, 261, 279, 300], [1]];
        using OpenElmModel model = TestModels.Stories(options);
        int vocab = model.Config.VocabSize;
        float[] logits = new float[vocab];
        SequenceState[] states = [.. prompts.Select(_ => model.CreateState(30))];
        int[][] expected = [.. prompts.Select((prompt, i) =>
        {
            using var text = TextModel.Of(TestModels.Stories(), null);
            return text.Generate(prompt, new GenerationOptions { MaxTokens = 12, IgnoreEos = true }).ToArray();
        })];
        int[] tokens = [.. prompts.Select((prompt, i) =>
        {
            model.Prefill(prompt, states[i], logits);
            return Array.IndexOf(logits, logits.Max());
        })];
        using (BatchChain chain = Assert.IsAssignableFrom<BatchChain>(model.BeginGreedy(tokens, states, vocab)))
        {
            for (int step = 0; step < 12; step++)
            {
                Assert.Equal(expected.Select(output => output[step]), tokens);
                chain.Next(tokens);
            }
        }

        Array.ForEach(states, state => state.Dispose());
    }

    [Fact]
    public void Behind_long_prompts_sequences_side_by_side_have_the_logits_of_the_processor()
    {
        InferenceOptions options = On(CudaPrecision.Fp32);
        OpenElmConfig config = Models[1] with { MaxContextLength = 600, RopeMaxLength = 1200 };
        int[] tokens = TestModels.Tokens(560, config.VocabSize);
        float[] expected = Whole(TestModels.Random(config), tokens);
        using OpenElmModel model = TestModels.Random(config, options);
        using SequenceState first = model.CreateState(570), second = model.CreateState(300);
        float[] logits = new float[2 * config.VocabSize];
        model.Prefill(tokens.AsSpan(0, 559), first, logits);
        model.Prefill(tokens.AsSpan(0, 256), second, logits);
        model.Forward([new SequenceRun(first, 1, 1), new SequenceRun(second, 1, 1)], [tokens[559], tokens[256]], logits);
        Close.Assert(expected.AsSpan(559 * config.VocabSize, config.VocabSize), logits.AsSpan(0, config.VocabSize), Fp32);
        Close.Assert(expected.AsSpan(256 * config.VocabSize, config.VocabSize), logits.AsSpan(config.VocabSize), Fp32);
    }

    [Fact]
    public void Every_variant_of_a_step_gives_the_same_bits()
    {
        InferenceOptions options = On(CudaPrecision.Bf16);
        OpenElmConfig config = TestModels.Blocked with { ModelDim = 1280, NumTransformerLayers = 2, FfnMultipliers = (0.8, 1.8) }; // rows of several pieces
        int[] tokens = TestModels.Tokens(3, config.VocabSize);
        float[][] logits = [.. StepVariant.All.Select((_, i) => OneByOne(TestModels.Random(config, options with { StepVariant = i }), tokens))];
        Assert.All(logits, other => Assert.Equal(logits[0], other));
    }

    [Fact]
    public void The_fastest_variant_of_a_step_is_found_and_kept()
    {
        InferenceOptions options = On(CudaPrecision.Bf16);
        OpenElmConfig config = Models[0];
        int[] tokens = TestModels.Tokens(12, config.VocabSize);
        float[] expected = OneByOne(TestModels.Random(config, options), tokens);
        string[] names = new string[2];
        for (int i = 0; i < names.Length; i++)
        {
            OpenElmModel found = TestModels.Random(config, options with { StepVariant = -1 });
            names[i] = found.KernelName;
            Assert.Equal(expected, OneByOne(found, tokens));
        }

        Assert.Contains(names[0], StepVariant.All.Select(variant => $"cuda-bf16 ({variant})"));
        Assert.Equal(names[0], names[1]);
    }

    // docs/numerics.md: numbers of 8 bits on both sides, in other groups; the root of mean squares, relative to the logits' own.
    // Of 1,280: warps with 4 and 5 blocks of a piece, rows of two pieces, the last one the smaller; of 1,536 and 2,048 as many blocks, of bytes and of nibbles, as a piece may have.
    [Theory, InlineData(DType.Q8_0, 256), InlineData(DType.Q4_0, 256), InlineData(DType.Q4_1, 256), InlineData(DType.Q4_K, 256), InlineData(DType.Q8_0, 1280), InlineData(DType.Q4_0, 1280), InlineData(DType.Q8_0, 1536), InlineData(DType.Q4_1, 2048)]
    public void Blocks_of_a_file_stay_packed_in_steps_and_are_unpacked_for_prompts(DType dtype, int width) =>
        AssertPackedIsRight(_ => dtype, width == 256 ? TestModels.Blocked : TestModels.Blocked with { ModelDim = width, FfnMultipliers = (0.8, 1.8) }, dtype == DType.Q8_0 ? 1.07 : 0.63, tokens: width == 256 ? 12 : 3);

    // Each with its own products in a step.
    [Fact]
    public void Matrices_of_three_formats_are_in_one_model() =>
        AssertPackedIsRight(
            name => name.Contains("qkv_proj", StringComparison.Ordinal) ? DType.Q8_0 : name.Contains("proj_1", StringComparison.Ordinal) ? DType.Q4_0 : DType.BF16, TestModels.Blocked with { HeadDim = 64 }, 1.9, tokens: 12);

    static void AssertPackedIsRight(Func<string, DType> dtypeOf, OpenElmConfig config, double bytesOfNumber, int tokens)
    {
        InferenceOptions options = On(CudaPrecision.Bf16);
        string file = Path.Combine(Path.GetTempPath(), $"openelm-{Guid.NewGuid():N}.gguf");
        try
        {
            TestModels.WriteBlocked(file, dtypeOf, config);
            int[] ids = TestModels.Tokens(tokens, config.VocabSize);
            float[] expected = Whole(OpenElmModel.Load(file), ids), prompt = Whole(OpenElmModel.Load(file, options), ids);
            OpenElmModel packed = OpenElmModel.Load(file, options);
            Assert.Equal("cuda-bf16", packed.KernelName);
            Assert.InRange(packed.WeightBytes, 1, TensorShapes.Of(config).Where(shape => shape.Shape.Length == 2).Sum(shape => shape.Elements) * bytesOfNumber);
            float[] steps = OneByOne(packed, ids);
            Assert.InRange(Error(expected, prompt), 1e-6, 0.06);
            Assert.InRange(Error(expected, steps), 1e-6, 0.06);
        }
        finally
        {
            File.Delete(file);
        }

        static double Error(float[] expected, float[] actual) => Math.Sqrt(expected.Zip(actual, (e, a) => (double)(e - a) * (e - a)).Sum() / expected.Sum(e => (double)e * e));
    }

    // Of a few steps the last one, at the first positions as behind them.
    [Theory, InlineData(0), InlineData(1), InlineData(20)]
    public void A_profile_of_a_step_has_its_phases_in_turn(int position)
    {
        InferenceOptions options = On(CudaPrecision.Bf16);
        using OpenElmModel model = TestModels.Random(Models[0], options);
        using SequenceState state = model.CreateState(position + 1);
        IReadOnlyList<StepPhase> phases = model.Backend.ProfileStep(state.Cache, position);
        Assert.Equal(["qkv", "queries, rotated", "own past", "splits, joined", "out", "gate and up", "down", "head", "choice"], phases.Select(phase => phase.Name));
        Assert.Equal([2, 2, 2, 2, 2, 2, 2, 1, 1], phases.Select(phase => phase.Count));
        Assert.All(phases, phase => Assert.True(phase.Microseconds > 0 && phase.Waiting >= 0, $"{phase}"));
        Assert.All(phases.Where(phase => phase.Name is "qkv" or "out" or "gate and up" or "down" or "head"), phase => Assert.True(phase.Waiting > 0, $"{phase}"));
    }

    [Fact]
    public void A_copied_and_shortened_state_goes_on_alike()
    {
        InferenceOptions options = On(CudaPrecision.Fp32);
        OpenElmConfig config = Models[0];
        int[] tokens = TestModels.Tokens(12, config.VocabSize);
        float[] expected = Whole(TestModels.Random(config), tokens);
        using OpenElmModel model = TestModels.Random(config, options);
        using SequenceState first = model.CreateState(40), second = model.CreateState(15);
        float[] logits = new float[config.VocabSize];
        model.Prefill(tokens.AsSpan(0, 8), first, logits);
        second.CopyFrom(first);
        model.Decode(5, second, logits);
        second.Truncate(8);
        model.Prefill(tokens.AsSpan(8), second, logits);
        Close.Assert(expected.AsSpan(11 * config.VocabSize), logits, Fp32);
    }

    // Several steps in a launch, fewer in the last one.
    // The small one's tokens are a few tiles each: what a launch reads for one is asked for while the ones before are computed.
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_chain_of_steps_chooses_what_the_processor_chooses(bool isSmall)
    {
        const int Prompt = 12, Capacity = 39;
        InferenceOptions options = On(CudaPrecision.Fp32);
        OpenElmConfig config = isSmall ? Models[1] with { NumTransformerLayers = 1, VocabSize = 40, ModelDim = 16, HeadDim = 8, FfnDimDivisor = 8 } : Models[1];
        int[] tokens = [.. TestModels.Tokens(Prompt, config.VocabSize), .. new int[Capacity - Prompt]];
        float[] logits = new float[config.VocabSize], largest = new float[Capacity];
        using (OpenElmModel processor = TestModels.Random(config))
        using (SequenceState state = processor.CreateState(Capacity))
        {
            processor.Prefill(tokens.AsSpan(0, Prompt), state, logits);
            for (int i = Prompt; i < Capacity; i++)
            {
                largest[i] = logits.Max();
                tokens[i] = Array.IndexOf(logits, largest[i]);
                processor.Decode(tokens[i], state, logits);
            }
        }

        using OpenElmModel model = TestModels.Random(config, options);
        using SequenceState own = model.CreateState(Capacity);
        model.Prefill(tokens.AsSpan(0, Prompt), own, logits);
        using TokenChain chain = model.Begin(tokens[Prompt], own, config.VocabSize, null)!;
        Assert.DoesNotContain("rows", model.KernelName, StringComparison.Ordinal);
        for (int i = Prompt + 1; i < Capacity; i++)
        {
            Assert.Equal(tokens[i], chain.Next(out float logit));
            Assert.Equal(largest[i], logit, 1e-4f * Math.Max(1, Math.Abs(largest[i])));
        }

        _ = chain.Next(out float last);
        Assert.NotEqual(0, last);
        Assert.Throws<InvalidOperationException>(() => chain.Next(out _));
    }

    // The first pass ends within the second sequence; few logits of both passes wait together, many go on their own.
    [Theory, InlineData(3, 10), InlineData(20, 18)]
    public void Logits_of_two_passes_come_in_order(int rows, int ofSecond)
    {
        const int First = 1000, Second = 40;
        InferenceOptions options = On(CudaPrecision.Fp32);
        OpenElmConfig config = TestModels.Layerwise with { NumTransformerLayers = 2, MaxContextLength = 1100, RopeMaxLength = 2200 };
        int[] tokens = TestModels.Tokens(First + Second, config.VocabSize);
        float[] expected = Both(TestModels.Random(config)), actual = Both(TestModels.Random(config, options));
        Close.Assert(expected, actual, Fp32);

        float[] Both(OpenElmModel model)
        {
            using (model)
            {
                using SequenceState first = model.CreateState(First), second = model.CreateState(Second);
                float[] logits = new float[(rows + ofSecond) * config.VocabSize];
                model.Forward([new SequenceRun(first, First, rows), new SequenceRun(second, Second, ofSecond)], tokens, logits);
                return logits;
            }
        }
    }

    // Few rows, a pass, two passes; vocabularies whose rows begin at multiples of 16 bytes, and others. The third time it is a recorded pass.
    [Theory, InlineData(0, 2, 132), InlineData(0, 24, 131), InlineData(3, 1030, 132)]
    public void The_first_token_is_the_likeliest_of_the_candidates(int index, int prompt, int vocab)
    {
        const int Candidates = 62; // fewer than there are, and no multiple of 4
        InferenceOptions options = On(CudaPrecision.Bf16);
        int[] tokens = TestModels.Tokens(prompt, Candidates);
        using OpenElmModel model = TestModels.Random(Models[index] with { VocabSize = vocab, NumTransformerLayers = 2, MaxContextLength = 1100, RopeMaxLength = 2200 }, options);
        using SequenceState state = model.CreateState(prompt);
        float[] logits = new float[vocab];
        for (int i = 0; i < (prompt > 1000 ? 1 : 3); i++)
        {
            tokens[^1] = 10 + i;
            state.Truncate(0);
            model.Prefill(tokens, state, logits);
            float largest = logits.AsSpan(0, Candidates).ToArray().Max();
            state.Truncate(0);
            Assert.Equal(Array.IndexOf(logits, largest), model.Choose(tokens, state, Candidates, out float logit));
            Assert.Equal(largest, logit);
            Assert.Equal(prompt, state.Length);
        }
    }

    [Fact]
    public void Greedy_tokens_of_a_trained_model_are_those_of_the_processor()
    {
        InferenceOptions options = On(CudaPrecision.Fp32);
        int[] Generate(OpenElmModel model)
        {
            using var text = TextModel.Of(model, null);
            return [.. text.Generate(new[] { 1, 403, 407 }, new GenerationOptions { MaxTokens = 40 })];
        }

        Assert.Equal(Generate(TestModels.Stories()), Generate(TestModels.Stories(options)));
    }

    [Fact]
    public void Over_its_whole_context_a_trained_model_has_the_logits_of_the_processor()
    {
        GoldenResult result = DeviceInferenceSuite.Run(TestModels.StoriesFolder, On(CudaPrecision.Fp32).Device!, On(CudaPrecision.Bf16).Device!);
        Assert.Equal(["fp32: prompt", "fp32: token by token", "bf16: prompt", "bf16: token by token"], result.Checks.Select(check => check.Name));
        Assert.All(result.Checks, check => Assert.True(check.Passed, $"{check.Name} is off by {check.Error}"));
        Assert.All(result.Checks, check => Assert.NotEqual(0, check.Error));
    }

    [Fact]
    public void Proposals_of_a_lookup_and_of_a_draft_leave_the_output_as_it_is()
    {
        InferenceOptions options = On(CudaPrecision.Fp32);
        int[] prompt = [1, 403, 407, 261, 298, 403, 407, 261];
        using var plain = TextModel.Of(TestModels.Stories(), null);
        int[] expected = [.. plain.Generate(prompt, new GenerationOptions { MaxTokens = 40, IgnoreEos = true })];
        using var text = TextModel.Of(TestModels.Stories(options), null);
        using var draft = TextModel.Of(TestModels.Stories(options), null);
        GenerationRun lookup = Generate(null, 6), drafted = Generate(draft, 0);
        Assert.Equal(expected, lookup.Output.ToArray());
        Assert.Equal(expected, drafted.Output.ToArray());
        Assert.InRange(lookup.Speculation.Proposed, 1, 240);
        Assert.InRange(drafted.Speculation.Accepted, drafted.Speculation.Proposed * 9 / 10, drafted.Speculation.Proposed); // the same model proposes

        GenerationRun Generate(TextModel? by, int proposals)
        {
            using GenerationSession session = text.CreateSession(by);
            GenerationRun run = session.Start(prompt, new GenerationOptions { MaxTokens = 40, IgnoreEos = true, PromptLookup = proposals });
            Assert.Equal(40, run.Tokens().Count());
            return run;
        }
    }

    // Of a model that nobody else uses.
    static float[] Whole(OpenElmModel model, int[] tokens)
    {
        using (model)
        {
            return GpuModels.Whole(model, tokens);
        }
    }

    static float[] OneByOne(OpenElmModel model, int[] tokens)
    {
        using (model)
        {
            return GpuModels.OneByOne(model, tokens);
        }
    }
}
