using System.Collections.Immutable;
using System.Runtime.InteropServices;
using OpenElm.Checkpoints;
using OpenElm.Configuration;
using OpenElm.Inference.Calibration;
using OpenElm.Inference.Scoring;

namespace OpenElm.Inference.Tests.Calibration;

public sealed class ImportanceCollectorTests : IDisposable
{
    static readonly OpenElmConfig Config = TestModels.Layerwise;

    readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Every_matrix_gets_a_number_for_each_column()
    {
        using OpenElmModel model = TestModels.Random(Config);
        Inference.Calibration.Calibration found = ImportanceCollector.Collect(model, TestModels.Tokens(300, Config.VocabSize));

        Assert.Equal(
            TensorShapes.Of(Config).Where(shape => shape.Shape.Length == 2).Select(shape => (shape.Name, (int)shape.Shape[1])).Order(),
            found.Importance.Columns.Select(pair => (pair.Key, pair.Value.Length)).Order());
        Assert.All(found.Importance.Columns.SelectMany(pair => pair.Value), square => Assert.InRange(square, float.Epsilon, 1e6f));
        Assert.Equal(302, found.Importance.Tokens); // two windows, each with BOS
        Assert.Null(found.HalfOverflow);
    }

    [Fact]
    public void Importance_is_the_mean_square_of_what_the_columns_are_multiplied_with()
    {
        // RMS norms with weight g make activations of mean square g² (but for epsilon): known without running anything.
        var weights = TestModels.Weights(RandomModel.Create(Config, 1));
        weights[TensorNames.Layer(0, "ffn_norm")] = Enumerable.Repeat(3f, Config.ModelDim).ToArray();
        weights[TensorNames.FinalNorm] = Enumerable.Repeat(0.5f, Config.ModelDim).ToArray();
        using var model = OpenElmModel.Create(Config, weights);
        ImmutableDictionary<string, ImmutableArray<float>> columns = ImportanceCollector.Collect(model, TestModels.Tokens(150, Config.VocabSize)).Importance.Columns;

        Assert.Equal(1, columns[TensorNames.Layer(0, "attn.qkv_proj")].Average(), 1e-3);
        Assert.Equal(9, columns[TensorNames.Layer(0, "ffn.proj_1")].Average(), 1e-2);
        Assert.Equal(0.25, columns[TensorNames.Embedding].Average(), 1e-3);
    }

    [Fact]
    public void Importance_of_one_token_is_its_own_activations()
    {
        // Without attention to others and at position 0, RoPE is the identity: qkv_proj sees norm(E[bos]), computed here by hand.
        var weights = TestModels.Weights(RandomModel.Create(Config, 1));
        using var model = OpenElmModel.Create(Config, weights);
        ImmutableArray<float> seen = ImportanceCollector.Collect(model, [7], window: 2).Importance.Columns[TensorNames.Layer(0, "attn.qkv_proj")];
        int width = Config.ModelDim;
        float[] expected = new float[width];
        foreach (int token in new[] { Config.BosTokenId, 7 })
        {
            float[] row = weights[TensorNames.Embedding].Slice(token * width, width).ToArray();
            double mean = row.Average(x => (double)x * x) + Config.RmsNormEps;
            for (int i = 0; i < width; i++)
            {
                expected[i] += (float)(row[i] * row[i] / mean / 2);
            }
        }

        Close.Assert(expected, seen.ToArray(), 1e-4);
    }

    [Fact]
    public void Running_without_an_observer_again_gives_the_same_logits()
    {
        using OpenElmModel model = TestModels.Random(Config);
        int[] tokens = TestModels.Tokens(20, Config.VocabSize);
        float[] before = new float[Config.VocabSize], after = new float[Config.VocabSize];
        model.ComputeLogits(tokens, 19, before);
        ImportanceCollector.Collect(model, tokens);
        model.ComputeLogits(tokens, 19, after);

        Assert.Equal(before, after);
        Assert.Null(model.Observer);
    }

    [Fact]
    public void Activations_beyond_fp16_are_reported_with_their_place()
    {
        var weights = TestModels.Weights(RandomModel.Create(Config, 1));
        string name = TensorNames.Layer(2, "ffn.proj_2");
        weights[name] = weights[name].ToArray().Select(x => x * 1e7f).ToArray();
        using var model = OpenElmModel.Create(Config, weights);
        Inference.Calibration.Calibration found = ImportanceCollector.Collect(model, TestModels.Tokens(20, Config.VocabSize));

        Assert.Matches("^Activations reach .*E\\+0[56789] \\(the residual stream after layer [23]\\); fp16 ends at 65504\\. .* as with OpenELM-3B: use bf16 there\\.$", found.HalfOverflow);
    }

    [Fact]
    public void Weights_that_overflowed_in_fp16_are_explained()
    {
        // What rounding to fp16 without a check makes of a weight of 70000.
        ModelContent content = RandomModel.Create(Config, 1, DType.F16);
        string name = TensorNames.Layer(1, "attn.out_proj");
        ModelFolderWriter.Write(_folder["model"], content with { Weights = [.. content.Weights.Select(weight => weight.Name == name ? weight with { Write = stream => WithInfinity(weight, stream) } : weight)] });
        using var model = TextModel.Load(_folder["model"]);
        const string cause = "its weights are stored in fp16, where numbers beyond 65504 become infinite, which OpenELM-3B is known for: convert the original to bf16.";

        var e = Assert.Throws<OpenElmException>(() => ImportanceCollector.Collect(model.Model, [5, 6, 7]));
        Assert.StartsWith("The model gave activations that are no numbers at ", e.Message);
        Assert.EndsWith(cause, e.Message);
        e = Assert.Throws<OpenElmException>(() => model.Generate(new int[] { 5, 6, 7 }).ToArray());
        Assert.Equal("The model gave logits that are no numbers after 3 tokens; " + cause, e.Message);
        e = Assert.Throws<OpenElmException>(() => new Scorer(model.Model, null).ScoreTokens([5, 6, 7]));
        Assert.Equal("The model gave logits that are no numbers; " + cause, e.Message);
    }

    [Fact]
    public void A_text_without_tokens_is_refused()
    {
        using OpenElmModel model = TestModels.Random(Config);
        Assert.Equal("The calibration text has no tokens.", Assert.Throws<OpenElmException>(() => ImportanceCollector.Collect(model, [])).Message);
    }

    static void WithInfinity(TensorSource weight, Stream stream)
    {
        using var original = new MemoryStream();
        weight.Write(original);
        MemoryMarshal.Cast<byte, Half>(original.GetBuffer().AsSpan())[5] = Half.PositiveInfinity;
        original.WriteTo(stream);
    }
}
