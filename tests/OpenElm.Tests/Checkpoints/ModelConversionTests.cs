using System.Runtime.InteropServices;
using OpenElm.Checkpoints;
using OpenElm.Configuration;

namespace OpenElm.Tests.Checkpoints;

public sealed class ModelConversionTests : IDisposable
{
    static readonly OpenElmConfig Config = new()
    {
        VocabSize = 50,
        NumTransformerLayers = 2,
        ModelDim = 32,
        HeadDim = 8,
        FfnMultipliers = 2.0,
        FfnDimDivisor = 8,
        NormalizeQkProjections = true,
    };

    readonly TemporaryFolder _folder = new();

    public ModelConversionTests() => ModelFolderWriter.Write(_folder["model"], RandomModel.Create(Config, 1));

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData(DType.BF16, 0.00391)] // 8 bits of mantissa: half a unit is 2^−9, relative to the number at most 2^−8
    [InlineData(DType.F16, 0.000489)] // 11 bits: at most 2^−11
    [InlineData(DType.F32, 0)]
    public void Weights_are_rounded_to_the_nearest(DType dtype, double relative)
    {
        using Checkpoint before = Checkpoint.Open(_folder["model"]);
        ModelFolderWriter.Write(_folder["converted"], ModelConversion.Content(before, dtype));
        using ModelFolder after = ModelFolder.Open(_folder["converted"]);
        Assert.Equal(before.Config, after.Config);
        foreach ((string name, TensorView tensor) in after.Weights)
        {
            Assert.Equal(dtype, tensor.DType);
            foreach ((float expected, float actual) in before.Weights[name].ToFloats().Zip(tensor.ToFloats()))
            {
                Assert.True(Math.Abs(expected - actual) <= (relative * Math.Abs(expected)) + 3e-8, $"{name}: {expected} became {actual}"); // 3e-8: half the smallest half
            }
        }

        Assert.Contains($"\"torch_dtype\": \"{dtype.TorchName()}\"", File.ReadAllText(Path.Combine(_folder["converted"], "config.json")));
    }

    [Fact]
    public void The_tokenizer_comes_along_if_there_is_one()
    {
        using (Checkpoint without = Checkpoint.Open(_folder["model"]))
        {
            Assert.Null(ModelConversion.Content(without).Tokenizer);
            ModelFolderWriter.Write(_folder["without"], ModelConversion.Content(without, DType.BF16));
        }

        Assert.False(File.Exists(Path.Combine(_folder["without"], "tokenizer.model")));
        File.WriteAllBytes(Path.Combine(_folder["model"], "tokenizer.model"), [1, 2, 3]);
        using Checkpoint with = Checkpoint.Open(_folder["model"]);
        ModelFolderWriter.Write(_folder["with"], ModelConversion.Content(with, DType.F16));
        Assert.Equal([1, 2, 3], File.ReadAllBytes(Path.Combine(_folder["with"], "tokenizer.model")));
    }

    [Fact]
    public void Rounding_is_to_even_on_ties()
    {
        Assert.Equal(0x3F80, FloatEncoding.ToBFloat16(BitConverter.UInt32BitsToSingle(0x3F808000))); // a tie: down to even
        Assert.Equal(0x3F82, FloatEncoding.ToBFloat16(BitConverter.UInt32BitsToSingle(0x3F818000))); // a tie: up to even
        Assert.Equal(0x3F81, FloatEncoding.ToBFloat16(BitConverter.UInt32BitsToSingle(0x3F808001)));
    }

    [Fact]
    public void Numbers_too_large_for_a_type_are_refused()
    {
        FloatEncoding.RequireRange([65519f, -65519f, float.PositiveInfinity, 1e30f], DType.F32, "w");
        FloatEncoding.RequireRange([65519f, -65519f, float.PositiveInfinity, float.NaN], DType.F16, "w");
        Assert.True(float.IsFinite((float)(Half)65519f) && float.IsInfinity((float)(Half)65520f)); // where the limit comes from
        Assert.Contains("too large for F16", Assert.Throws<OpenElmException>(() => FloatEncoding.RequireRange([-65520f], DType.F16, "w")).Message);
        Assert.Contains("too large for BF16", Assert.Throws<OpenElmException>(() => FloatEncoding.RequireRange([float.MaxValue], DType.BF16, "w")).Message);
        FloatEncoding.RequireRange([3.38e38f], DType.BF16, "w");
    }

    [Theory]
    [InlineData(DType.F32)]
    [InlineData(DType.BF16)]
    public void Rows_of_the_vocabulary_are_cut(DType dtype)
    {
        using Checkpoint before = Checkpoint.Open(_folder["model"]);
        ModelFolderWriter.Write(_folder["whole"], ModelConversion.Content(before, dtype));
        ModelFolderWriter.Write(_folder["cut"], ModelConversion.WithVocabulary(ModelConversion.Content(before, dtype), 33));
        using ModelFolder whole = ModelFolder.Open(_folder["whole"]), cut = ModelFolder.Open(_folder["cut"]);
        Assert.Equal(Config with { VocabSize = 33 }, cut.Config);
        foreach ((string name, TensorView tensor) in cut.Weights)
        {
            Assert.Equal(whole.Weights[name].ToFloats()[..(int)tensor.Elements], tensor.ToFloats());
        }

        Assert.Equal([33L, 32L], cut.Weights["classifier.weight"].Shape);
        Assert.Contains("has 50", Assert.Throws<OpenElmException>(() => ModelConversion.WithVocabulary(ModelConversion.Content(before), 51)).Message);
    }

    [Fact]
    public void Random_weights_follow_the_initialisation_and_the_seed()
    {
        OpenElmConfig wide = Config with { ModelDim = 256, VocabSize = 400, ShareInputOutputLayers = true };
        Dictionary<string, float[]> weights = Floats(RandomModel.Create(wide, 7));
        foreach ((string name, float[] values) in weights)
        {
            double mean = values.Average(value => (double)value), deviation = Math.Sqrt(values.Average(value => ((double)value - mean) * (value - mean)));
            // Section 1.8: d^−½; the matrices that write to the residual stream d^−½ · (2N)^−½; norms 1.
            double expected = name.Contains("out_proj") || name.Contains("proj_2") ? 1 / 16.0 / Math.Sqrt(4) : 1 / 16.0;
            if (name.EndsWith("norm.weight", StringComparison.Ordinal))
            {
                Assert.All(values, value => Assert.Equal(1, value));
                continue;
            }

            Assert.InRange(Math.Abs(mean), 0, 5 * expected / Math.Sqrt(values.Length)); // five standard errors
            Assert.InRange(deviation, expected * (1 - (5 / Math.Sqrt(2.0 * values.Length))), expected * (1 + (5 / Math.Sqrt(2.0 * values.Length))));
            Assert.InRange(values.Count(value => Math.Abs(value) > 2 * expected) / (double)values.Length, 0.04, 0.051); // 4.55 % of a normal distribution
        }

        Assert.Equal(weights["layers.0.ffn.proj_1.weight"], Floats(RandomModel.Create(wide, 7))["layers.0.ffn.proj_1.weight"]);
        Assert.NotEqual(weights["layers.0.ffn.proj_1.weight"], Floats(RandomModel.Create(wide, 8))["layers.0.ffn.proj_1.weight"]);
        Assert.NotEqual(weights["layers.0.ffn.proj_1.weight"], weights["layers.1.ffn.proj_1.weight"]);
    }

    static Dictionary<string, float[]> Floats(ModelContent content) => content.Weights.ToDictionary(weight => weight.Name, weight =>
    {
        using var stream = new MemoryStream();
        weight.Write(stream);
        return MemoryMarshal.Cast<byte, float>(stream.ToArray()).ToArray();
    });
}
