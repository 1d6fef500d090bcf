using OpenElm.Checkpoints;
using OpenElm.Configuration;

namespace OpenElm.Tests.Checkpoints;

public sealed class CheckpointAveragingTests
{
    static readonly OpenElmConfig Tiny = new() { VocabSize = 8, NumTransformerLayers = 1, ModelDim = 8, HeadDim = 4, FfnDimDivisor = 4, ShareInputOutputLayers = true };

    // The three values cancel in float32 (1e8 swallows 1), not in float64: (1e8 + 1 - 1e8) / 3 = 1/3.
    [Fact]
    public void Sums_are_in_double_precision()
    {
        using var folder = new TemporaryFolder();
        string[] paths = [Write(folder["a"], 1e8f), Write(folder["b"], 1), Write(folder["c"], -1e8f)];
        CheckpointAveraging.Average(paths, folder["mean"]);
        using ModelFolder mean = ModelFolder.Open(folder["mean"]);
        Assert.All(mean.Weights.Values, tensor => Assert.All(tensor.ToFloats(), value => Assert.Equal(1f / 3, value)));
    }

    [Fact]
    public void Half_precision_weights_stay_in_their_type()
    {
        using var folder = new TemporaryFolder();
        string[] paths = [Write(folder["a"], 1, DType.BF16), Write(folder["b"], 2, DType.BF16)];
        CheckpointAveraging.Average(paths, folder["mean"]);
        using ModelFolder mean = ModelFolder.Open(folder["mean"]);
        Assert.All(mean.Weights.Values, tensor => Assert.Equal((DType.BF16, 1.5f), (tensor.DType, tensor.ToFloats()[0])));
    }

    [Fact]
    public void Other_architectures_types_and_too_few_are_refused()
    {
        using var folder = new TemporaryFolder();
        string a = Write(folder["a"], 1), b = Write(folder["b"], 1, config: Tiny with { RmsNormEps = 1e-5 }), c = Write(folder["c"], 1, DType.F16);
        Assert.Contains("another architecture", Assert.Throws<OpenElmException>(() => CheckpointAveraging.Average([a, b], folder["x"])).Message, StringComparison.Ordinal);
        Assert.Contains("stores F16", Assert.Throws<OpenElmException>(() => CheckpointAveraging.Average([a, c], folder["x"])).Message, StringComparison.Ordinal);
        Assert.Contains("two checkpoints", Assert.Throws<OpenElmException>(() => CheckpointAveraging.Average([a], folder["x"])).Message, StringComparison.Ordinal);
        Assert.False(Directory.Exists(folder["x"]));
    }

    // Bits from the definition of bfloat16: round to nearest, ties to even.
    [Theory]
    [InlineData(0x3F808000u, 0x3F80)] // a tie goes to the even neighbour below
    [InlineData(0x3F818000u, 0x3F82)] // a tie goes to the even neighbour above
    [InlineData(0x3F808001u, 0x3F81)]
    [InlineData(0x7F7FFFFFu, 0x7F80)] // beyond the largest: infinity
    public void BFloat16_rounds_to_nearest_even(uint bits, int expected) => Assert.Equal(expected, FloatEncoding.ToBFloat16(BitConverter.UInt32BitsToSingle(bits)));

    static string Write(string path, float value, DType dtype = DType.F32, OpenElmConfig? config = null)
    {
        config ??= Tiny;
        ModelFolderWriter.Write(path, new ModelContent(config, [.. TensorShapes.Of(config).Select(t =>
        {
            float[] values = new float[t.Elements];
            Array.Fill(values, value);
            return new TensorSource(t.Name, dtype, t.Shape, stream => stream.Write(FloatEncoding.Encode(values, dtype)));
        })]));
        return path;
    }
}
