using System.Text.Json;
using OpenElm.Configuration;

namespace OpenElm.Tests.Configuration;

public sealed class OpenElmConfigTests
{
    public static TheoryData<string> ReleasedShapes => [.. Golden().EnumerateObject().Where(e => e.Name.StartsWith("OpenELM-", StringComparison.Ordinal)).Select(e => e.Name)];

    [Theory, MemberData(nameof(ReleasedShapes))]
    public void Released_sizes_have_the_reference_implementations_widths_and_parameters(string entry)
    {
        JsonElement golden = Golden().GetProperty(entry);
        string[] parts = entry.Split('/'); // OpenELM-1.1B/vocab-32000
        OpenElmConfig config = NamedConfigs.Get(parts[0].Replace('_', '.')) with { VocabSize = int.Parse(parts[1]["vocab-".Length..]) };

        Assert.Equal(golden.GetProperty("parameters").GetInt64(), ParameterCount.Of(config).Total);
        Assert.Equal(
            golden.GetProperty("query_heads_kv_heads_ffn_dim_per_layer").EnumerateArray().Select(row => new LayerShape(row[0].GetInt32(), row[1].GetInt32(), row[2].GetInt32())),
            config.Layers);
    }

    // openelm.md 1.4: (non-embedding, attention, FFN, norm, KV-cache elements a token)
    [Theory]
    [InlineData("openelm-270m", 230_567_168, 51_609_600, 178_913_280, 44_288, 8_064)]
    [InlineData("openelm-450m", 408_027_136, 89_456_640, 318_504_960, 65_536, 11_648)]
    [InlineData("openelm-1.1b", 1_014_355_456, 221_511_680, 792_723_456, 120_320, 21_632)]
    [InlineData("openelm-3b", 2_938_343_424, 644_874_240, 2_293_235_712, 233_472, 41_984)]
    public void Parameter_groups_match_the_reference(string name, long nonEmbedding, long attention, long feedForward, long norm, long kvElements)
    {
        OpenElmConfig config = NamedConfigs.Get(name);
        ParameterCount count = ParameterCount.Of(config);
        Assert.Equal((nonEmbedding, attention, feedForward, norm), (count.NonEmbedding, count.Attention, count.FeedForward, count.Norm));
        Assert.Equal(kvElements, ParameterCount.KvCacheElementsPerToken(config));
    }

    [Fact]
    public void Gpt_test_has_the_widths_that_CoreNets_LoRA_test_implies()
    {
        OpenElmConfig config = NamedConfigs.Get("gpt-test") with { VocabSize = 100 };
        Assert.Equal(new LayerShape(1, 1, 256), Assert.Single(config.Layers));
        Assert.Equal(144_384, ParameterCount.Of(config).Total);
    }

    // openelm.md 1.2, worked examples; the last four need the ten-per-cent rule or the lower bound.
    [Theory]
    [InlineData(640, 256, 768)]
    [InlineData(678.4, 256, 768)]
    [InlineData(857.6, 256, 1024)]
    [InlineData(890.88, 256, 1024)]
    [InlineData(383, 256, 512)]
    [InlineData(934.4, 256, 1024)]
    [InlineData(32, 256, 256)]
    public void MakeDivisible_rounds_as_CoreNet_does(double value, int divisor, int expected) => Assert.Equal(expected, LayerWiseScaling.MakeDivisible(value, divisor));

    [Fact]
    public void Json_survives_a_round_trip_for_every_named_model()
    {
        foreach (OpenElmConfig config in NamedConfigs.Names.Select(NamedConfigs.Get))
        {
            OpenElmConfig again = OpenElmConfigJson.Read(OpenElmConfigJson.Write(config), "test");
            Assert.Equal(config.Layers, again.Layers);
            Assert.Equal(config, again);
            Assert.Null(again.NumQueryHeads);
        }
    }

    [Fact]
    public void Explicit_heads_and_another_epsilon_survive_and_warn()
    {
        var config = new OpenElmConfig { NumTransformerLayers = 3, ModelDim = 64, HeadDim = 16, NumQueryHeads = [3, 4, 6], NumKvHeads = [3, 2, 1], RmsNormEps = 1e-5 };
        OpenElmConfig again = OpenElmConfigJson.Read(OpenElmConfigJson.Write(config.Validated()), "test");
        Assert.Equal([new(3, 3, 256), new(4, 2, 256), new(6, 1, 256)], again.Layers);
        Assert.Equal(2, OpenElmConfigJson.HuggingFaceDifferences(again).Count);
        Assert.Empty(OpenElmConfigJson.HuggingFaceDifferences(NamedConfigs.Get("openelm-3b")));
    }

    [Fact]
    public void All_problems_are_reported_at_once()
    {
        OpenElmException e = Assert.Throws<OpenElmException>(() => OpenElmConfigJson.Read("""
            { "model_type": "llama", "model_dim": "wide", "head_dim": 7, "ffn_multipliers": [1, "x"], "vocab_size": 1.5 }
            """, "my.json"));
        foreach (string part in new[] { "my.json", "model_type is \"llama\"", "model_dim must be a whole number", "ffn_multipliers must be", "vocab_size must be" })
        {
            Assert.Contains(part, e.Message, StringComparison.Ordinal);
        }

        e = Assert.Throws<OpenElmException>(() => new OpenElmConfig { VocabSize = 0, HeadDim = 7, RmsNormEps = double.NaN, QkvMultipliers = (0, 1) }.Validated());
        foreach (string part in new[] { "vocab_size is 0", "head_dim is 7", "rms_norm_eps is NaN", "qkv_multipliers is [0, 1]" })
        {
            Assert.Contains(part, e.Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void Heads_that_do_not_divide_are_refused() => Assert.Contains(
        "5 query heads and 2 KV heads",
        Assert.Throws<OpenElmException>(() => new OpenElmConfig { NumTransformerLayers = 1, NumQueryHeads = [5], NumKvHeads = [2] }.Validated()).Message,
        StringComparison.Ordinal);

    [Fact]
    public void Unknown_keys_are_refused_in_our_own_files_only()
    {
        Assert.Contains("modl_dim", Assert.Throws<OpenElmException>(() => OpenElmConfigJson.Read("""{"modl_dim": 64}""", "x", strict: true)).Message, StringComparison.Ordinal);
        Assert.Equal(2048, OpenElmConfigJson.Read("""{"modl_dim": 64}""", "x").ModelDim);
    }

    static JsonElement Golden() => JsonDocument.Parse(File.ReadAllText(Path.Combine(RepositoryFiles.Golden, "golden.json"))).RootElement;
}
