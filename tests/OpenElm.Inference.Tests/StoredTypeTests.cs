using OpenElm.Checkpoints;
using OpenElm.Inference.Kernels;

namespace OpenElm.Inference.Tests;

/// <summary>Whole models of every stored type, on every kernel set: one result for a token, however it is fed, and close to the stored values in floats.</summary>
public sealed class StoredTypeTests : IDisposable
{
    const int Seq = 81;

    readonly TemporaryFolder _folder = new();

    public static TheoryData<string, DType> Cases =>
        [.. from set in CpuKernels.Available from dtype in new[] { DType.F32, DType.F16, DType.BF16, DType.Q8_0, DType.Q4_0, DType.Q4_1, DType.Q5_0, DType.Q5_1, DType.Q4_K, DType.Q5_K, DType.Q6_K } select (set.Name, dtype)];

    public static TheoryData<string, KvCacheType> Caches => [.. from set in CpuKernels.Available from type in Enum.GetValues<KvCacheType>() select (set.Name, type)];

    [Theory, MemberData(nameof(Cases))]
    public void A_token_has_the_same_bits_in_a_prompt_a_split_prompt_a_batch_and_alone(string kernels, DType dtype)
    {
        TestModels.WriteBlocked(_folder["model.gguf"], dtype);
        SameBits(new InferenceOptions { Kernels = kernels, Threads = 2 });
    }

    [Theory, MemberData(nameof(Caches))]
    public void A_token_has_the_same_bits_however_it_is_fed_with_every_cache(string kernels, KvCacheType type)
    {
        TestModels.WriteBlocked(_folder["model.gguf"], DType.Q8_0);
        SameBits(new InferenceOptions { Kernels = kernels, KvCache = type });
    }

    [Theory, MemberData(nameof(Cases))]
    public void Logits_are_those_of_the_stored_values(string kernels, DType dtype)
    {
        TestModels.WriteBlocked(_folder["model.gguf"], dtype);
        int[] tokens = TestModels.Tokens(Seq, TestModels.Blocked.VocabSize);
        float[] expected = new float[Seq * TestModels.Blocked.VocabSize], actual = [.. expected];
        using (OpenElmModel floats = StoredValues())
        {
            floats.ComputeLogits(tokens, 0, expected);
        }

        using OpenElmModel model = OpenElmModel.Load(_folder["model.gguf"], new InferenceOptions { Kernels = kernels });
        model.ComputeLogits(tokens, 0, actual);

        // Floats: only the order of sums. Integer products round activations to 8 bits, bfloat16 pairs to 8 bits of mantissa.
        double allowed = dtype is DType.F32 or DType.F16 ? 2e-5 : dtype == DType.BF16 ? (kernels.Contains("vnni", StringComparison.Ordinal) ? 0.05 : 2e-5) : 0.15;
        Close.Assert(expected, actual, allowed);
        double error = Math.Sqrt(expected.Zip(actual, (a, b) => (double)(a - b) * (a - b)).Average()), size = Math.Sqrt(expected.Average(a => (double)a * a));
        Assert.True(error < allowed / 5 * size, $"root mean square error {error:g3} of logits of {size:g3}");
    }

    [Theory]
    [InlineData(KvCacheType.BF16, 0.02)]
    [InlineData(KvCacheType.I8, 0.1)]
    public void A_smaller_cache_stays_near_floats(KvCacheType type, double allowed)
    {
        int[] tokens = TestModels.Tokens(Seq, TestModels.Blocked.VocabSize);
        float[] Logits(KvCacheType cache)
        {
            using OpenElmModel model = TestModels.Random(TestModels.Blocked, new InferenceOptions { KvCache = cache });
            float[] logits = new float[Seq * model.Config.VocabSize];
            model.ComputeLogits(tokens, 0, logits);
            return logits;
        }

        float[] floats = Logits(KvCacheType.F32), rounded = Logits(type);
        Assert.NotEqual(floats, rounded);
        Close.Assert(floats, rounded, allowed);
    }

    [Fact]
    public void A_copied_state_goes_on_as_the_original()
    {
        using OpenElmModel model = TestModels.Random(TestModels.Blocked);
        int vocab = model.Config.VocabSize;
        int[] tokens = TestModels.Tokens(100, vocab);
        float[] expected = new float[vocab], actual = new float[vocab];
        using SequenceState state = model.CreateState(120), copy = model.CreateState(150);
        model.Prefill(tokens.AsSpan(0, 70), state, expected);
        copy.CopyFrom(state);
        model.Prefill(tokens.AsSpan(70), state, expected);
        model.Prefill(tokens.AsSpan(70), copy, actual);
        Assert.Equal(expected, actual);
        Assert.Equal(state.Length, copy.Length);
    }

    [Fact]
    public void A_batch_with_a_mistake_changes_no_state()
    {
        using OpenElmModel model = TestModels.Random(TestModels.Blocked);
        using SequenceState a = model.CreateState(4), b = model.CreateState(2);
        float[] logits = new float[2 * model.Config.VocabSize];
        Assert.Throws<OpenElmException>(() => model.Forward([new SequenceRun(a, 1, 1), new SequenceRun(b, 3, 1)], [1, 2, 3, 4], logits)); // too long for b
        Assert.Throws<OpenElmException>(() => model.Forward([new SequenceRun(a, 1, 1)], [model.Config.VocabSize], logits));
        Assert.Throws<ArgumentException>(() => model.Forward([new SequenceRun(a, 1, 1), new SequenceRun(a, 1, 1)], [1, 2], logits));
        Assert.Equal((0, 0), (a.Length, b.Length));
    }

    public void Dispose() => _folder.Dispose();

    void SameBits(InferenceOptions options)
    {
        using OpenElmModel model = OpenElmModel.Load(_folder["model.gguf"], options);
        int vocab = model.Config.VocabSize;
        int[] tokens = TestModels.Tokens(Seq, vocab);
        float[] whole = new float[Seq * vocab], rows = new float[Seq * vocab];
        model.ComputeLogits(tokens, 0, whole);

        using SequenceState split = model.CreateState(Seq);
        foreach ((int first, int end) in new[] { (0, 1), (1, 4), (4, 70), (70, 71), (71, Seq) })
        {
            model.Forward(tokens.AsSpan(first, end - first), split, end - first, rows.AsSpan(first * vocab));
        }

        Close.Assert(whole, rows, 0);

        // Three copies at different points of the sequence, fed together: a prompt, some tokens, one token.
        using SequenceState a = model.CreateState(Seq), b = model.CreateState(Seq), c = model.CreateState(Seq);
        model.Prefill(tokens.AsSpan(0, 33), b, rows);
        model.Prefill(tokens.AsSpan(0, 80), c, rows);
        float[] batch = new float[(7 + 20 + 1) * vocab];
        model.Forward([new SequenceRun(a, 40, 7), new SequenceRun(b, 20, 20), new SequenceRun(c, 1, 1)], [.. tokens[..40], .. tokens[33..53], tokens[80]], batch);
        Close.Assert(whole.AsSpan(33 * vocab, 7 * vocab), batch.AsSpan(0, 7 * vocab), 0);
        Close.Assert(whole.AsSpan(33 * vocab, 20 * vocab), batch.AsSpan(7 * vocab, 20 * vocab), 0);
        Close.Assert(whole.AsSpan(80 * vocab, vocab), batch.AsSpan(27 * vocab, vocab), 0);
    }

    OpenElmModel StoredValues()
    {
        using var checkpoint = Checkpoint.Open(_folder["model.gguf"]);
        return OpenElmModel.Create(checkpoint.Config, checkpoint.Weights.ToDictionary(pair => pair.Key, pair => (ReadOnlyMemory<float>)pair.Value.ToFloats()), new InferenceOptions());
    }
}
