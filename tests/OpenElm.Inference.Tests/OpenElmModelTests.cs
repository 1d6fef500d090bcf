using OpenElm.Checkpoints;
using OpenElm.Configuration;
using OpenElm.Inference.Kernels;

namespace OpenElm.Inference.Tests;

public sealed class OpenElmModelTests
{
    const int Seq = 150; // more than one run through the layers

    public static TheoryData<string> KernelNames => [.. CpuKernels.Available.Select(set => set.Name)];

    [Theory, MemberData(nameof(KernelNames))]
    public void Cached_decoding_equals_the_full_forward_pass(string kernels)
    {
        using OpenElmModel model = TestModels.Random(TestModels.Layerwise, new InferenceOptions { Kernels = kernels });
        int vocab = model.Config.VocabSize;
        int[] tokens = TestModels.Tokens(Seq, vocab);
        float[] full = new float[Seq * vocab], row = new float[vocab];
        model.ComputeLogits(tokens, 0, full);
        using SequenceState state = model.CreateState(Seq);
        for (int position = 0; position < Seq; position++)
        {
            model.Decode(tokens[position], state, row);
            Close.Assert(full.AsSpan(position * vocab, vocab), row, 0); // a token gets the same bits alone and in a batch
        }
    }

    [Theory, MemberData(nameof(KernelNames))]
    public void Several_tokens_on_top_of_a_cache_equal_the_full_forward_pass(string kernels)
    {
        using OpenElmModel model = TestModels.Random(TestModels.Layerwise, new InferenceOptions { Kernels = kernels });
        int vocab = model.Config.VocabSize;
        int[] tokens = TestModels.Tokens(Seq, vocab);
        float[] full = new float[Seq * vocab];
        model.ComputeLogits(tokens, 0, full);
        using SequenceState state = model.CreateState(Seq);
        int at = 0;
        foreach (int count in new[] { 1, 2, 7, 100, 40 })
        {
            float[] rows = new float[count * vocab];
            model.Forward(tokens.AsSpan(at, count), state, count, rows);
            Close.Assert(full.AsSpan(at * vocab, count * vocab), rows, 0);
            at += count;
        }

        state.Truncate(60);
        float[] last = new float[vocab];
        model.Prefill(tokens.AsSpan(60, 50), state, last);
        Close.Assert(full.AsSpan(109 * vocab, vocab), last, 0);
    }

    [Fact]
    public void Kernel_sets_and_thread_counts_agree()
    {
        int[] tokens = TestModels.Tokens(Seq, TestModels.Layerwise.VocabSize);
        float[] Logits(InferenceOptions options)
        {
            using OpenElmModel model = TestModels.Random(TestModels.Layerwise, options);
            float[] logits = new float[Seq * model.Config.VocabSize];
            model.ComputeLogits(tokens, 0, logits);
            return logits;
        }

        float[] reference = Logits(new InferenceOptions { Kernels = "reference", Threads = 1 });
        foreach (CpuKernels set in CpuKernels.Available)
        {
            float[] one = Logits(new InferenceOptions { Kernels = set.Name, Threads = 1 });
            Close.Assert(reference, one, 2e-5); // the allowance of the golden logits; only the order of sums differs
            Close.Assert(one, Logits(new InferenceOptions { Kernels = set.Name, Threads = 3 }), 0); // threads share rows, not sums
        }
    }

    [Fact]
    public void Only_the_rows_wanted_are_written()
    {
        using OpenElmModel model = TestModels.Random(TestModels.Layerwise);
        int vocab = model.Config.VocabSize;
        int[] tokens = TestModels.Tokens(Seq, vocab);
        float[] full = new float[Seq * vocab];
        model.ComputeLogits(tokens, 0, full);
        foreach (int first in new[] { 1, 95, 96, 97, Seq - 1 })
        {
            float[] rows = new float[(Seq - first) * vocab];
            model.ComputeLogits(tokens, first, rows);
            Close.Assert(full.AsSpan(first * vocab), rows, 0);
        }
    }

    [Fact]
    public void Sequences_on_several_threads_do_not_disturb_each_other()
    {
        using OpenElmModel model = TestModels.Random(TestModels.Layerwise, new InferenceOptions { Threads = 2 });
        float[][] Logits(bool parallel)
        {
            float[][] results = new float[6][];
            void One(int i)
            {
                results[i] = new float[Seq * model.Config.VocabSize];
                model.ComputeLogits(TestModels.Tokens(Seq, model.Config.VocabSize, seed: i), 0, results[i]);
            }

            if (parallel)
            {
                Parallel.For(0, results.Length, One);
            }
            else
            {
                Enumerable.Range(0, results.Length).ToList().ForEach(One);
            }

            return results;
        }

        Assert.Equal(Logits(parallel: false), Logits(parallel: true));
    }

    [Fact]
    public void Weights_that_are_no_numbers_are_reported()
    {
        Dictionary<string, ReadOnlyMemory<float>> weights = TestModels.Weights(RandomModel.Create(TestModels.Layerwise, 1));
        float[] norm = weights["norm.weight"].ToArray();
        norm[3] = float.NaN;
        weights["norm.weight"] = norm;
        using var folder = new TemporaryFolder();
        ModelFolderWriter.Write(folder["nan"], new ModelContent(TestModels.Layerwise, [.. TensorShapes.Of(TestModels.Layerwise).Select(shape => TensorSource.Of(shape.Name, shape.Shape, weights[shape.Name]))]));
        using TextModel text = TextModel.Load(folder["nan"]);
        foreach (double temperature in new[] { 0, 0.8 })
        {
            var options = new Inference.Generation.GenerationOptions { Sampling = new() { Temperature = temperature } };
            Assert.Contains("no numbers", Message(() => Assert.NotEmpty(text.Generate(new[] { 1 }, options))));
        }

        Assert.Contains("no numbers", Message(() => new Inference.Scoring.Scorer(text.Model, null).ScoreTokens([1, 2])));
    }

    [Fact]
    public void Decoding_allocates_nothing()
    {
        using OpenElmModel model = TestModels.Random(TestModels.Layerwise, new InferenceOptions { Threads = 2 });
        float[] logits = new float[model.Config.VocabSize];
        using SequenceState state = model.CreateState(400);
        model.Prefill(TestModels.Tokens(100, model.Config.VocabSize), state, logits);
        for (int i = 0; i < 50; i++)
        {
            model.Decode(i, state, logits);
        }

        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 200; i++)
        {
            model.Decode(i % 100, state, logits);
        }

        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    }

    [Theory]
    [InlineData(DType.F32)]
    [InlineData(DType.BF16)]
    [InlineData(DType.F16)]
    public void A_folder_runs_as_its_weights_in_memory(DType dtype)
    {
        var options = new InferenceOptions { Kernels = "reference" }; // others may multiply bfloat16 with rounded activations
        using var folder = new TemporaryFolder();
        ModelContent content = RandomModel.Create(TestModels.Layerwise, 5, dtype);
        ModelFolderWriter.Write(folder["model"], content);
        int[] tokens = TestModels.Tokens(10, 131);
        float[] expected = new float[10 * 131], actual = new float[10 * 131];
        using (ModelFolder opened = ModelFolder.Open(folder["model"]))
        using (OpenElmModel model = OpenElmModel.Create(opened.Config, opened.Weights.ToDictionary(pair => pair.Key, pair => (ReadOnlyMemory<float>)pair.Value.ToFloats()), options))
        {
            model.ComputeLogits(tokens, 0, expected);
        }

        using (OpenElmModel model = OpenElmModel.Load(folder["model"], options))
        {
            model.ComputeLogits(tokens, 0, actual);
        }

        Close.Assert(expected, actual, 0);
    }

    [Fact]
    public void Wrong_requests_are_named()
    {
        using OpenElmModel model = TestModels.Random(TestModels.Layerwise);
        float[] logits = new float[131];
        using SequenceState state = model.CreateState(3);
        Assert.Contains("no tokens", Message(() => model.Prefill([], state, logits)));
        Assert.Contains("id 131", Message(() => model.Prefill([5, 131], state, logits)));
        Assert.Contains("id -1", Message(() => model.Decode(-1, state, logits)));
        Assert.Contains("holds 3", Message(() => model.Prefill([1, 2, 3, 4], state, logits)));
        Assert.Contains("limit of 400", Message(() => model.CreateState(401)));
        Assert.Equal(0, state.Length);
        using OpenElmModel longer = TestModels.Random(TestModels.Layerwise, new InferenceOptions { MaxLength = 500 });
        longer.CreateState(500).Dispose();
        Assert.Contains("threads", Message(() => TestModels.Random(TestModels.Layerwise, new InferenceOptions { Threads = 0, MaxLength = 0 })));
        var weights = TestModels.Weights(RandomModel.Create(TestModels.Layerwise, 1));
        weights.Remove("norm.weight");
        weights["token_embeddings.weight"] = new float[3];
        string problems = Message(() => OpenElmModel.Create(TestModels.Layerwise, weights));
        Assert.Contains("norm.weight is missing", problems);
        Assert.Contains("token_embeddings.weight has 3", problems);
    }

    [Fact]
    public void A_limit_of_any_size_costs_nothing_until_it_is_used()
    {
        int[] tokens = TestModels.Tokens(300, 131); // more than one block of angles
        using OpenElmModel model = TestModels.Random(TestModels.Layerwise), endless = TestModels.Random(TestModels.Layerwise with { RopeMaxLength = int.MaxValue });
        float[] expected = new float[131], actual = new float[131];
        using SequenceState state = model.CreateState(300), small = endless.CreateState(3), large = endless.CreateState(300);
        model.Prefill(tokens, state, expected);
        endless.Prefill(tokens, large, actual);
        Assert.Equal(expected, actual);
    }

    [Fact]
    public void Beyond_the_trained_length_it_warns_once()
    {
        var warnings = new List<string>();
        OpenElmConfig config = TestModels.Layerwise with { MaxContextLength = 4, RopeMaxLength = 20 };
        using OpenElmModel model = TestModels.Random(config, new InferenceOptions { Warn = warnings.Add });
        float[] logits = new float[131];
        using SequenceState state = model.CreateState();
        Assert.Equal(20, state.Capacity);
        model.Prefill([1, 2, 3, 4], state, logits);
        Assert.Empty(warnings);
        model.Decode(5, state, logits);
        model.Decode(6, state, logits);
        Assert.Contains("max_context_length", Assert.Single(warnings));
    }

    [Fact]
    public void A_disposed_model_says_so()
    {
        OpenElmModel model = TestModels.Random(TestModels.Layerwise);
        using SequenceState state = model.CreateState(3);
        model.Dispose();
        model.Dispose();
        Assert.Throws<ObjectDisposedException>(() => model.Decode(1, state, new float[131]));
    }

    static string Message(Action action) => Assert.Throws<OpenElmException>(action).Message;
}
