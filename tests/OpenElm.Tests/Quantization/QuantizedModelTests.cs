using System.Collections.Immutable;
using System.Runtime.InteropServices;
using OpenElm.Checkpoints;
using OpenElm.Configuration;
using OpenElm.Quantization;

namespace OpenElm.Tests.Quantization;

public sealed class QuantizedModelTests : IDisposable
{
    static readonly OpenElmConfig Config = new()
    {
        VocabSize = 300,
        NumTransformerLayers = 3,
        ModelDim = 256,
        HeadDim = 16,
        FfnMultipliers = 1.25, // 320 wide: proj_2's rows are no whole blocks of the K formats
        FfnDimDivisor = 64,
        NormalizeQkProjections = true,
    };

    readonly TemporaryFolder _folder = new();

    public QuantizedModelTests() => ModelFolderWriter.Write(_folder["model"], RandomModel.Create(Config, 1));

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("Q4_K_M"), InlineData("Q8_0"), InlineData("Q4_0"), InlineData("MLX4"), InlineData("BF16")]
    public void Every_weight_is_written_as_planned_and_measured(string name)
    {
        using var source = Checkpoint.Open(_folder["model"]);
        var model = QuantizedModel.Create(source, QuantizationRecipe.Parse(name));

        Assert.Equal(TensorShapes.Of(Config).Select(shape => shape.Name), model.Content.Weights.Select(weight => weight.Name));
        foreach ((QuantizedTensor plan, TensorSource weight) in model.Tensors.Zip(model.Content.Weights))
        {
            float[] before = source.Weights[weight.Name].ToFloats(), after = Written(weight);
            TensorError measured = model.Errors[weight.Name];

            Assert.Equal(plan.Format.DType, weight.DType);
            Assert.Equal(DType.F32, plan.Source);
            Assert.Equal(weight.ByteCount - (plan.Format.DType == DType.Affine4x64 ? before.Length / 64 * 4 : 0), plan.StoredBytes);
            Assert.Equal(before.Length, measured.Elements);
            Assert.Equal(BlockFormatsTests.Error(before, after), measured.SquaredError, 1e-12);
            Assert.Equal(before.Sum(x => (double)x * x), measured.SquaredWeights, 1e-6);
        }
    }

    [Fact]
    public void Rows_are_the_same_whether_quantised_alone_or_by_all_processors()
    {
        using var source = Checkpoint.Open(_folder["model"]);
        TensorSource weight = QuantizedModel.Create(source, QuantizationRecipe.Parse("Q4_K")).Content.Weights.Single(weight => weight.Name == TensorNames.Layer(1, "attn.qkv_proj"));
        using var stream = new MemoryStream();
        weight.Write(stream);
        byte[] alone = new byte[weight.ByteCount];
        BlockFormats.Quantize(DType.Q4_K, source.Weights[weight.Name].ToFloats(), alone);

        Assert.Equal(alone, stream.ToArray());
    }

    [Fact]
    public void Rows_that_are_no_whole_blocks_are_reported()
    {
        using var source = Checkpoint.Open(_folder["model"]);
        var model = QuantizedModel.Create(source, QuantizationRecipe.Parse("Q4_K"));

        Assert.Equal(
            Enumerable.Range(0, 3).Select(layer => (TensorNames.Layer(layer, "ffn.proj_2"), new TensorFormat(DType.Q5_0, "rows of 320 are no multiples of Q4_K's 256: Q5_0 instead"))),
            model.Tensors.Where(tensor => tensor.Format.Note is not null).Select(tensor => (tensor.Weight.Name, tensor.Format)));
    }

    [Fact]
    public void Importance_is_used_where_it_is_known()
    {
        string name = TensorNames.Layer(0, "ffn.proj_1");
        var random = new Random(4);
        var importance = new ImportanceWeights(ImmutableDictionary<string, ImmutableArray<float>>.Empty.Add(name, [.. Enumerable.Range(0, 256).Select(_ => MathF.Exp((6 * random.NextSingle()) - 3))]), 10);
        using var source = Checkpoint.Open(_folder["model"]);
        var model = QuantizedModel.Create(source, QuantizationRecipe.Parse("Q4_0"), importance);
        float[] before = source.Weights[name].ToFloats(), columns = [.. importance.Columns[name]];
        float[] with = Written(model.Content.Weights.Single(weight => weight.Name == name));
        float[] without = Written(QuantizedModel.Create(source, QuantizationRecipe.Parse("Q4_0")).Content.Weights.Single(weight => weight.Name == name));

        Assert.Equal([name], model.Tensors.Where(tensor => tensor.HasImportance).Select(tensor => tensor.Weight.Name));
        Assert.True(BlockFormatsTests.Error(before, with, columns) < 0.9 * BlockFormatsTests.Error(before, without, columns));
    }

    [Fact]
    public void Importance_of_another_model_is_refused()
    {
        string name = TensorNames.Layer(0, "ffn.proj_1");
        var importance = new ImportanceWeights(ImmutableDictionary<string, ImmutableArray<float>>.Empty.Add(name, [1, 2, 3]), 10);
        using var source = Checkpoint.Open(_folder["model"]);
        var e = Assert.Throws<OpenElmException>(() => QuantizedModel.Create(source, QuantizationRecipe.Parse("Q4_0"), importance));

        Assert.Equal($"The importance of {name} has 3 columns; the matrix has 256. It was collected with another model.", e.Message);
    }

    [Fact]
    public void A_tied_embedding_counts_half_as_head_and_half_as_embedding()
    {
        var importance = new ImportanceWeights(ImmutableDictionary<string, ImmutableArray<float>>.Empty.Add("x", [0, 2, 4]), 1);

        Assert.Equal([0, 2, 4], importance.Of("x", isTiedEmbedding: false).ToArray());
        Assert.Equal([2, 4, 6], importance.Of("x", isTiedEmbedding: true).ToArray());
        Assert.True(importance.Of("y", isTiedEmbedding: true).IsEmpty);
    }

    [Theory]
    [InlineData(float.NaN, "Q4_0", "layers.1.attn.out_proj.weight cannot be stored: A weight is NaN; Q4_0 takes finite ones up to 65504.")]
    [InlineData(70000, "Q8_0", "layers.1.attn.out_proj.weight cannot be stored: A weight is 70000; Q8_0 takes finite ones up to 65504.")]
    [InlineData(70000, "F16", "layers.1.attn.out_proj.weight holds 70000, which is too large for F16; choose BF16 or F32.")]
    public void A_weight_that_cannot_be_stored_is_named(float value, string recipe, string message)
    {
        string name = TensorNames.Layer(1, "attn.out_proj");
        ModelContent content = RandomModel.Create(Config, 2);
        ModelFolderWriter.Write(_folder["damaged"], content with { Weights = [.. content.Weights.Select(weight => weight.Name == name ? weight with { Write = stream => Damage(weight, value, stream) } : weight)] });
        using var source = Checkpoint.Open(_folder["damaged"]);
        TensorSource weight = QuantizedModel.Create(source, QuantizationRecipe.Parse(recipe)).Content.Weights.Single(weight => weight.Name == name);

        Assert.Equal(message, Assert.Throws<OpenElmException>(() => weight.Write(Stream.Null)).Message);
    }

    static void Damage(TensorSource weight, float value, Stream stream)
    {
        using var original = new MemoryStream();
        weight.Write(original);
        MemoryMarshal.Cast<byte, float>(original.GetBuffer().AsSpan())[1234] = value;
        original.WriteTo(stream);
    }

    static unsafe float[] Written(TensorSource weight)
    {
        using var stream = new MemoryStream();
        weight.Write(stream);
        fixed (byte* bytes = stream.ToArray())
        {
            return new TensorView(weight.Name, weight.DType, weight.Shape, (nint)bytes, stream.Length).ToFloats();
        }
    }
}
