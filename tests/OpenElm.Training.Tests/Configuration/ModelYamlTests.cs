using OpenElm.Configuration;

namespace OpenElm.Training.Tests.Configuration;

/// <summary>A model in a run configuration: by name, or as a section in the keys of <c>config.json</c>.</summary>
public sealed class ModelYamlTests
{
    public sealed record Run
    {
        public required OpenElmConfig Model { get; init; }
    }

    [Fact]
    public void A_model_may_be_named() => Assert.Equal(NamedConfigs.Get("openelm-270m"), Parse("model: openelm-270m").Model);

    [Fact]
    public void A_model_may_be_a_section() =>
        Assert.Equal(
            NamedConfigs.Get("openelm-270m") with { VocabSize = 32128 },
            Parse("""
                model:
                  vocab_size: 32128
                  num_transformer_layers: 16
                  model_dim: 1280
                  head_dim: 64
                  num_gqa_groups: 4
                  qkv_multipliers: [0.5, 1.0]
                  ffn_multipliers: [0.5, 4]
                  normalize_qk_projections: true
                  share_input_output_layers: true
                """).Model);

    [Fact]
    public void Every_shipped_model_survives_a_round_trip()
    {
        foreach (OpenElmConfig model in NamedConfigs.Names.Select(NamedConfigs.Get))
        {
            Assert.Equal(new Run { Model = model }, Parse(StrictYaml.Write(new Run { Model = model })));
        }
    }

    [Theory]
    [InlineData("model: openelm-9b", "run.yaml:1: model: There is no model called openelm-9b")]
    [InlineData("model:\n  head_dim: 63\n  vocab_size: 0", "run.yaml:2: model.head_dim is 63; RoPE rotates pairs")]
    [InlineData("model:\n  head_dim: 63\n  vocab_size: 0", "run.yaml:3: model.vocab_size is 0")]
    [InlineData("model:\n  qkv_multipliers: [wide]", "run.yaml:2: model.qkv_multipliers must be a number, a pair of numbers, or one number for each layer.")]
    [InlineData("model:\n  num_query_heads: [1, x]", "run.yaml:2: model.num_query_heads.1 must be a whole number")]
    [InlineData("model:\n  kv_heads: 2", "run.yaml:2: model.kv_heads is not a known key; did you mean num_kv_heads?")]
    public void Problems_have_the_line_of_their_key(string yaml, string expected) =>
        Assert.Contains(expected, Assert.Throws<OpenElmException>(() => Parse(yaml)).Message.ReplaceLineEndings("\n"));

    static Run Parse(string yaml) => StrictYaml.Parse<Run>(yaml, "run.yaml");
}
