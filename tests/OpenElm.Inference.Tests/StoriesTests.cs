using System.Text.Json;
using OpenElm.Checkpoints;
using OpenElm.Inference.Generation;
using OpenElm.Inference.Kernels;
using OpenElm.Inference.Scoring;
using OpenElm.Tokenization;

namespace OpenElm.Inference.Tests;

/// <summary>A trained model with outputs that another implementation computed: stories260K, imported from llama2.c.</summary>
public sealed class StoriesTests
{
    static readonly JsonElement Golden = JsonDocument.Parse(File.ReadAllBytes(Path.Combine(TestModels.StoriesFolder, "golden.json"))).RootElement;

    static readonly int[] GreedyIds = [.. Golden.GetProperty("greedy_ids").EnumerateArray().Select(id => id.GetInt32())];

    public static TheoryData<string> KernelNames => [.. CpuKernels.Available.Select(set => set.Name)];

    [Theory, MemberData(nameof(KernelNames))]
    public void Greedy_tokens_agree(string kernels)
    {
        using OpenElmModel model = TestModels.Stories(new InferenceOptions { Kernels = kernels });
        using SequenceState state = model.CreateState(201);
        float[] logits = new float[512];
        int token = GreedyIds[0];
        var ids = new List<int> { token };
        for (int i = 0; i < 200; i++)
        {
            model.Decode(token, state, logits);
            ids.Add(token = Array.IndexOf(logits, logits.Max()));
        }

        Assert.Equal(GreedyIds, ids);
    }

    [Theory, MemberData(nameof(KernelNames))]
    public void Logits_agree(string kernels)
    {
        using OpenElmModel model = TestModels.Stories(new InferenceOptions { Kernels = kernels });
        float[] logits = new float[32 * 512];
        model.ComputeLogits(GreedyIds.AsSpan(0, 32), 0, logits);
        int[] positions = [.. Golden.GetProperty("positions").EnumerateArray().Select(p => p.GetInt32())];
        for (int row = 0; row < positions.Length; row++)
        {
            float[] expected = [.. Golden.GetProperty("logits_first32_positions")[row].EnumerateArray().Select(v => v.GetSingle())];
            Close.Assert(expected, logits.AsSpan(positions[row] * 512, 512), 1e-4); // golden.json: five decimals
        }
    }

    [Theory, MemberData(nameof(KernelNames))]
    public void Log_probabilities_agree(string kernels)
    {
        using OpenElmModel model = TestModels.Stories(new InferenceOptions { Kernels = kernels });
        Score score = new Scorer(model, null).ScoreTokens(GreedyIds.AsSpan(0, 32));
        double[] expected = [.. Golden.GetProperty("next_token_logprobs").EnumerateArray().Select(v => v.GetDouble())];
        Assert.Equal(31, expected.Length);
        Assert.All(expected.Zip(score.LogProbabilities), pair => Assert.Equal(pair.First, pair.Second, 1e-5)); // golden.json: six decimals
        Assert.True(score.IsGreedy);
        Assert.Equal(expected.Sum(), score.Sum, 31 * 1e-5);
    }

    [Fact]
    public void The_bundled_folder_writes_the_known_story()
    {
        using TextModel model = TextModel.Load(TestModels.StoriesFolder);
        using GenerationSession session = model.CreateSession();
        GenerationRun run = session.Start("", new GenerationOptions { MaxTokens = 200 });
        Assert.Equal(Golden.GetProperty("expected_text").GetString(), string.Concat(run.Text()));
        Assert.Equal(GreedyIds[1..], run.Output.ToArray());
        Assert.Equal(1, run.Prompt.Length);
    }

    [Fact]
    public void The_bundled_text_scores_as_its_tokens()
    {
        using TextModel model = TextModel.Load(TestModels.StoriesFolder);
        var scorer = new Scorer(model.Model, model.Tokenizer);
        string text = Golden.GetProperty("expected_text").GetString()!;
        Assert.Equal(GreedyIds[1..], model.Tokenizer!.Encode(text));
        Assert.Equal(scorer.ScoreTokens(GreedyIds).Sum, scorer.ScoreText(text).Sum, 1e-9);
        Assert.Equal(Math.Exp(-scorer.ScoreText(text).Sum / 200), new PerplexityMeter(model.Model, model.Tokenizer).MeasureText(text).PerToken, 1e-9);
    }

    [Fact]
    public void The_bundled_folder_is_what_the_import_writes()
    {
        using var folder = new TemporaryFolder();
        using Checkpoint stories = Checkpoint.Open(Path.Combine(TestModels.StoriesFolder, "stories260K.bin"));
        ModelFolderWriter.Write(folder["stories"], ModelConversion.Content(stories, DType.F32) with
        {
            Tokenizer = Llama2cTokenizer.Read(Path.Combine(TestModels.StoriesFolder, "tok512.bin"), 512).ModelBytes,
        });
        foreach (string file in Directory.EnumerateFiles(folder["stories"]))
        {
            Assert.Equal(File.ReadAllBytes(file), File.ReadAllBytes(Path.Combine(TestModels.StoriesFolder, Path.GetFileName(file))));
        }
    }
}
