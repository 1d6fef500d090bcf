using OpenElm.Checkpoints;
using OpenElm.Configuration;
using OpenElm.Quantization;

namespace OpenElm.Tests.Quantization;

public sealed class QuantizationRecipeTests
{
    static readonly OpenElmConfig Model270M = NamedConfigs.Get("openelm-270m");

    [Fact]
    public void Q4_K_M_of_270M_is_llama_cpps_mix()
    {
        // As listed by llama-quantize Q4_K_M for this model (16 layers).
        int[] moreBits = [0, 1, 4, 7, 10, 13, 14, 15];
        Dictionary<string, DType> types = TypesOf("Q4_K_M", Model270M);

        Assert.Equal(DType.Q6_K, types[TensorNames.Embedding]);
        for (int layer = 0; layer < 16; layer++)
        {
            DType expected = moreBits.Contains(layer) ? DType.Q6_K : DType.Q4_K;
            Assert.Equal(expected, types[TensorNames.Layer(layer, "attn.qkv_proj")]);
            Assert.Equal(expected, types[TensorNames.Layer(layer, "ffn.proj_2")]);
            Assert.Equal(DType.Q4_K, types[TensorNames.Layer(layer, "attn.out_proj")]);
            Assert.Equal(DType.Q4_K, types[TensorNames.Layer(layer, "ffn.proj_1")]);
            Assert.Equal(DType.F32, types[TensorNames.Layer(layer, "attn_norm")]);
            Assert.Equal(DType.F32, types[TensorNames.Layer(layer, "attn.q_norm")]);
        }
    }

    [Theory]
    [InlineData("Q8_0", DType.Q8_0, DType.Q8_0)]
    [InlineData("q4_0", DType.Q4_0, DType.Q6_K)]
    [InlineData("Q4_K", DType.Q4_K, DType.Q6_K)]
    [InlineData("Q6_K", DType.Q6_K, DType.Q6_K)]
    [InlineData("BF16", DType.BF16, DType.BF16)]
    [InlineData("MLX4", DType.Affine4x64, DType.BF16)]
    [InlineData("mlx8", DType.Affine8x64, DType.BF16)]
    public void Matrices_and_a_tied_embedding(string name, DType matrices, DType embedding)
    {
        var recipe = QuantizationRecipe.Parse(name);
        Dictionary<string, DType> types = TypesOf(recipe, Model270M);

        Assert.Equal(embedding, types[TensorNames.Embedding]);
        Assert.All(types.Where(pair => pair.Key.Contains("proj")), pair => Assert.Equal(matrices, pair.Value));
        DType norms = recipe.IsMlx ? DType.BF16 : DType.F32;
        Assert.All(types.Where(pair => pair.Key.Contains("norm")), pair => Assert.Equal(norms, pair.Value));
    }

    [Fact]
    public void MLX_has_one_plain_type()
    {
        Dictionary<string, DType> types = TypesOf(QuantizationRecipe.Parse("MLX4", 32) with { Embeddings = DType.F16 }, Model270M with { ShareInputOutputLayers = false });

        Assert.Equal(DType.F16, types[TensorNames.Embedding]);
        Assert.Equal(DType.F16, types[TensorNames.Classifier]);
        Assert.Equal(DType.F16, types[TensorNames.FinalNorm]);
        Assert.Equal(DType.Affine4x32, types[TensorNames.Layer(0, "ffn.proj_1")]);
    }

    [Fact]
    public void An_untied_model_keeps_its_head_finer_than_its_embedding()
    {
        OpenElmConfig untied = Model270M with { ShareInputOutputLayers = false };
        Dictionary<string, DType> types = TypesOf("Q4_0", untied);

        Assert.Equal((DType.Q4_0, DType.Q6_K), (types[TensorNames.Embedding], types[TensorNames.Classifier]));
    }

    [Fact]
    public void Embedding_and_head_can_be_chosen()
    {
        QuantizationRecipe recipe = QuantizationRecipe.Parse("Q4_0") with { Embeddings = DType.Q8_0 };
        Assert.Equal(DType.Q8_0, TypesOf(recipe, Model270M)[TensorNames.Embedding]);

        recipe = QuantizationRecipe.Parse("Q4_0") with { Head = DType.BF16 };
        Assert.Equal(DType.BF16, TypesOf(recipe, Model270M)[TensorNames.Embedding]); // tied

        recipe = QuantizationRecipe.Parse("Q4_0") with { Head = DType.BF16, Embeddings = DType.Q5_K };
        Dictionary<string, DType> types = TypesOf(recipe, Model270M with { ShareInputOutputLayers = false });
        Assert.Equal((DType.Q5_K, DType.BF16), (types[TensorNames.Embedding], types[TensorNames.Classifier]));
    }

    [Theory]
    [InlineData("Q4_K", 1312, DType.Q5_0)] // 41 · 32
    [InlineData("Q5_K", 1312, DType.Q5_1)]
    [InlineData("Q6_K", 1312, DType.Q8_0)]
    [InlineData("Q4_K", 1300, DType.BF16)]
    [InlineData("Q4_0", 1300, DType.BF16)]
    [InlineData("MLX8", 1312, DType.BF16)] // a folder has one size of groups
    public void Rows_that_are_no_whole_blocks_fall_back_and_say_so(string name, int columns, DType expected)
    {
        var recipe = QuantizationRecipe.Parse(name);
        TensorFormat format = recipe.FormatOf(Model270M, new TensorShape(TensorNames.Layer(0, "ffn.proj_2"), [1280, columns]));

        Assert.Equal(expected, format.DType);
        Assert.Equal($"rows of {columns} are no multiples of {recipe.Matrices}'s {recipe.Matrices.BlockElements()}: {expected} instead", format.Note);
    }

    [Theory]
    [InlineData("Q4_0", 1300, DType.BF16)]
    [InlineData("Q4_0", 1312, DType.Q8_0)]
    [InlineData("Q8_0", 1312, DType.Q8_0)]
    public void The_embedding_falls_back_too(string name, int columns, DType expected) =>
        Assert.Equal(expected, QuantizationRecipe.Parse(name).FormatOf(Model270M, new TensorShape(TensorNames.Embedding, [100, columns])).DType);

    [Fact]
    public void Impossible_recipes_are_refused()
    {
        Assert.StartsWith("There is no format Q3_K; there are Q4_K_M, Q8_0", Message(() => QuantizationRecipe.Parse("Q3_K")));
        Assert.StartsWith("There is no type Q9; there are Q8_0", Message(() => QuantizationRecipe.ParseType("Q9")));
        Assert.Equal("The group is 48; it must be 32 or 64.", Message(() => QuantizationRecipe.Parse("MLX4", 48)));
        Assert.Equal("The blocks of Q4_0 have a fixed size; a group goes with MLX4 and MLX8 only.", Message(() => QuantizationRecipe.Parse("Q4_0", 32)));
        Assert.Equal("The recipe Q4_0 does not fit the model: the head is the embedding itself; it cannot be Q8_0 where the embedding is Q6_K",
            Message(() => (QuantizationRecipe.Parse("Q4_0") with { Embeddings = DType.Q6_K, Head = DType.Q8_0 }).ValidatedFor(Model270M)));
        Assert.Equal("The recipe MLX4 does not fit the model: MLX keeps embedding and head in one plain type; choose F32, BF16 or F16 for both",
            Message(() => (QuantizationRecipe.Parse("MLX4") with { Embeddings = DType.Q6_K }).ValidatedFor(Model270M)));
    }

    [Fact]
    public void Every_name_is_parsed() => Assert.All(QuantizationRecipe.Names, name => Assert.Equal(name, QuantizationRecipe.Parse(name.ToLowerInvariant()).Name));

    static string Message(Func<object> act) => Assert.Throws<OpenElmException>(act).Message;

    static Dictionary<string, DType> TypesOf(string name, OpenElmConfig config) => TypesOf(QuantizationRecipe.Parse(name), config);

    static Dictionary<string, DType> TypesOf(QuantizationRecipe recipe, OpenElmConfig config) =>
        TensorShapes.Of(config).ToDictionary(shape => shape.Name, shape => recipe.ValidatedFor(config).FormatOf(config, shape).DType);
}
