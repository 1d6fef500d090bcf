using System.Collections.Immutable;
using OpenElm.Adapters;
using OpenElm.Configuration;

namespace OpenElm.Tests.Adapters;

public sealed class AdapterConfigTests
{
    // openelm.md 8.2, at r = 32 and V = 32128.
    [Theory]
    [InlineData("openelm-270m", 9_453_568, 9_611_904)]
    [InlineData("openelm-450m", 13_508_608, 13_743_232)]
    [InlineData("openelm-1.1b", 24_281_088, 24_718_720)]
    [InlineData("openelm-3b", 45_887_488, 46_732_288)]
    public void The_papers_adapters_have_the_references_numbers_of_parameters(string name, long lora, long dora)
    {
        OpenElmConfig model = NamedConfigs.Get(name) with { VocabSize = 32128 };
        Assert.Equal(lora, RandomAdapters.Paper().Resolve(model).Sum(module => module.Parameters));
        Assert.Equal(dora, RandomAdapters.Paper(dora: true).Resolve(model).Sum(module => module.Parameters));
    }

    // CoreNet's test_lora (openelm.md 12): LoRA on the embedding and DoRA on the linears of gpt-test.
    [Fact]
    public void CoreNets_own_test_has_9780_trainable_parameters()
    {
        OpenElmConfig model = NamedConfigs.Get("gpt-test") with { VocabSize = 100 };
        ImmutableArray<AdaptedModule> modules = RandomAdapters.Paper(dora: true, rank: 5).Resolve(model);
        Assert.Equal(9_780, modules.Sum(module => module.Parameters));
        Assert.Equal(154_164, ParameterCount.Of(model).Total + modules.Sum(module => module.Parameters));
    }

    [Fact]
    public void Rules_choose_modules_from_the_start_of_their_names()
    {
        var config = new AdapterConfig { Rules = [new AdapterRule { Modules = @"layers\.1\.attn", Rank = 4, Alpha = 6, RsLora = true }, new AdapterRule { Modules = ".*proj_1$", Rank = 2 }] };
        Assert.Equal(
            ["layers.0.ffn.proj_1 2", "layers.1.attn.qkv_proj 4", "layers.1.attn.out_proj 4", "layers.1.ffn.proj_1 2"],
            config.Resolve(RandomAdapters.Model).Select(module => $"{module.Name} {module.Rank}"));
        Assert.Equal((6 / 2.0, 32 / 2.0), (config.Resolve(RandomAdapters.Model)[1].Scaling, config.Resolve(RandomAdapters.Model)[0].Scaling)); // α/√r, α/r
    }

    [Theory]
    [InlineData("attn.qkv_proj", "the rule 'attn.qkv_proj' matches no module")] // not at the start
    [InlineData("norm", "matches no module")]
    [InlineData("classifier", "matches no module")]
    [InlineData("layers.7", "matches no module")]
    [InlineData("layers.0.ffn.proj_2|layers.1.ffn.proj_1", "layers.1.ffn.proj_1 matches two rules, 'layers.0.ffn.proj_2|layers.1.ffn.proj_1' and '.*proj_1'")]
    public void A_rule_that_matches_nothing_and_a_module_that_matches_twice_are_named(string rule, string problem)
    {
        var config = new AdapterConfig { Rules = [new AdapterRule { Modules = rule }, new AdapterRule { Modules = ".*proj_1" }] };
        Assert.Contains(problem, Assert.Throws<OpenElmException>(() => config.Resolve(RandomAdapters.Model)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Dora_of_the_embedding_is_refused_and_its_dropout_is_none()
    {
        var config = new AdapterConfig { Rules = [new AdapterRule { Modules = ".*", Dora = true }] };
        Assert.Contains("token_embeddings is the embedding, which DoRA cannot adapt", Assert.Throws<OpenElmException>(() => config.Resolve(RandomAdapters.Model)).Message, StringComparison.Ordinal);
        Assert.Equal([0, 0.1], (config with { Rules = [new AdapterRule { Modules = ".*" }] }).Resolve(RandomAdapters.Model).Select(module => module.Dropout).Distinct());
    }

    [Theory]
    [InlineData("(", 32, 32, 0.1, "rules.0.modules is '('")]
    [InlineData("", 32, 32, 0.1, "rules.0.modules is ''")]
    [InlineData(".*", 0, 32, 0.1, "rules.0.rank is 0")]
    [InlineData(".*", 32, 0, 0.1, "rules.0.alpha is 0")]
    [InlineData(".*", 32, double.NaN, 0.1, "rules.0.alpha is NaN")]
    [InlineData(".*", 32, 32, 1, "rules.0.dropout is 1")]
    public void Impossible_values_are_named(string modules, int rank, double alpha, double dropout, string problem)
    {
        var config = new AdapterConfig { Rules = [new AdapterRule { Modules = modules, Rank = rank, Alpha = alpha, Dropout = dropout }] };
        Assert.Contains(problem, Assert.Throws<OpenElmException>(() => config.Resolve(RandomAdapters.Model)).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("a.b")]
    [InlineData("")]
    [InlineData("weight")]
    public void Names_that_would_confuse_tensors_are_refused(string name) =>
        Assert.Contains("name is", Assert.Throws<OpenElmException>(() => (RandomAdapters.Paper() with { Name = name }).Resolve(RandomAdapters.Model)).Message, StringComparison.Ordinal);

    [Fact]
    public void Expressions_that_never_end_are_refused_in_time()
    {
        var config = new AdapterConfig { Rules = [new AdapterRule { Modules = "((((.*)*)*)*)*!" }] };
        Assert.Contains("takes forever", Assert.Throws<OpenElmException>(() => config.Resolve(RandomAdapters.Model)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Freezing_selects_names_and_refuses_expressions_without_any()
    {
        string[] names = ["norm.weight", "layers.0.attn.qkv_proj.base_layer.weight", "layers.0.attn.qkv_proj.lora_A.lora.weight"];
        Assert.Equal(names[..2], NameExpression.Select([".*base_layer.*", ".*norm.*"], names, "freeze").Order(Comparer<string>.Create((a, b) => Array.IndexOf(names, a) - Array.IndexOf(names, b))));
        Assert.Contains("freeze expression 'lora'", Assert.Throws<OpenElmException>(() => NameExpression.Select(["lora"], names, "freeze")).Message, StringComparison.Ordinal);
    }
}
