using OpenElm.Configuration;
using OpenElm.Training.Kernels;
using OpenElm.Training.Kernels.Fused;
using static TorchSharp.torch;

namespace OpenElm.Training.Tests.Kernels;

/// <summary>Each fused kernel against one operator for each step, values and gradients, on widths that leave tails.</summary>
public sealed class FusedKernelTests
{
    static readonly ReferenceKernels Reference = new();
    static readonly FusedKernels Fused = new();

    // fp32: sums in another order. bf16: one rounding (2^−9 relative) where the reference has several.
    static double Allowance(ScalarType type) => type == ScalarType.Float32 ? 2e-6 : 1.5e-2;

    [Theory]
    [InlineData(1, 1, ScalarType.Float32)]
    [InlineData(7, 24, ScalarType.Float32)]
    [InlineData(65, 100, ScalarType.Float32)]
    [InlineData(33, 1283, ScalarType.Float32)]
    [InlineData(5, 37, ScalarType.BFloat16)]
    [InlineData(40, 256, ScalarType.BFloat16)]
    public void RmsNorm(int rows, int width, ScalarType type) => Agree(type, [[rows, width], [width]], (kernels, inputs) => [kernels.RmsNorm(inputs[0], inputs[1], 1e-6)]);

    [Theory]
    [InlineData(1, 2, ScalarType.Float32)]
    [InlineData(19, 42, ScalarType.Float32)]
    [InlineData(70, 514, ScalarType.Float32)]
    [InlineData(19, 42, ScalarType.BFloat16)]
    public void SwiGlu(int rows, int width, ScalarType type) => Agree(type, [[rows, width]], (kernels, inputs) => [kernels.SwiGlu(inputs[0])]);

    [Theory]
    [InlineData(2, 5, 4, 2, 8, true, ScalarType.Float32)]
    [InlineData(1, 1, 1, 1, 2, true, ScalarType.Float32)]
    [InlineData(3, 17, 5, 1, 22, false, ScalarType.Float32)]
    [InlineData(3, 17, 6, 3, 22, true, ScalarType.Float32)]
    [InlineData(2, 9, 4, 4, 64, true, ScalarType.Float32)]
    [InlineData(2, 9, 4, 2, 24, true, ScalarType.BFloat16)]
    [InlineData(2, 9, 4, 2, 24, false, ScalarType.BFloat16)]
    public void SplitNormRotate(int batch, int seq, int queryHeads, int kvHeads, int headDim, bool norm, ScalarType type)
    {
        using var rope = new RopeTable(new OpenElmConfig { HeadDim = headDim, MaxContextLength = 32 }, CPU);
        var shape = new AttentionShape(new LayerShape(queryHeads, kvHeads, 1), headDim, 1e-6);
        long[][] shapes = norm ? [[batch, seq, (queryHeads + (2 * kvHeads)) * headDim], [headDim], [headDim]] : [[batch, seq, (queryHeads + (2 * kvHeads)) * headDim]];

        Agree(type, shapes, (kernels, inputs) =>
        {
            QueryKeyValue heads = kernels.SplitNormRotate(inputs[0], norm ? inputs[1] : null, norm ? inputs[2] : null, rope.LayoutOf(seq), shape);
            return [heads.Q, heads.K, heads.V];
        });
    }

    [Fact]
    public void Autocast_types_are_those_of_the_reference()
    {
        using var scope = NewDisposeScope();
        using var rope = new RopeTable(new OpenElmConfig { HeadDim = 8, MaxContextLength = 32 }, CPU);
        var shape = new AttentionShape(new LayerShape(2, 1, 1), 8, 1e-6);
        Tensor qkv = randn(2, 5, 32).bfloat16(), norm = randn(8);

        SequenceLayout layout = rope.LayoutOf(5);
        QueryKeyValue expected = Reference.SplitNormRotate(qkv, norm, norm, layout, shape), actual = Fused.SplitNormRotate(qkv, norm, norm, layout, shape);

        // The rounding rule is the same step for step (normalise, round, times weight, rotate, round): at most one unit in the last place.
        TensorAssert.Close(expected.Q, actual.Q, 1.0 / 128, 1e-6, "q");
        TensorAssert.Close(expected.K, actual.K, 1.0 / 128, 1e-6, "k");
        TensorAssert.Same(expected.V, actual.V, "v");
    }

    [Fact]
    public void RmsNorm_rounds_before_the_weight_as_the_reference_does()
    {
        using var scope = NewDisposeScope();
        Tensor x = randn(64, 96).bfloat16(), weight = (randn(96) + 1).bfloat16();

        TensorAssert.Close(Reference.RmsNorm(x, weight, 1e-6), Fused.RmsNorm(x, weight, 1e-6), 1.0 / 128, 0, "y");
        Tensor exact = Reference.RmsNorm(x.to_type(ScalarType.Float32), weight.to_type(ScalarType.Float32), 1e-6).bfloat16();
        Assert.True(exact.ne(Fused.RmsNorm(x, weight, 1e-6)).sum().item<long>() > 100, "one rounding and two should differ in many elements");
    }

    [Fact]
    public void Rounding_to_bfloat16_is_libtorchs()
    {
        using var scope = NewDisposeScope();
        float[] values = [0f, -0f, 1f, 1.00390625f, 1.01171875f, 3.4e38f, float.MaxValue, float.Epsilon, float.PositiveInfinity, float.NegativeInfinity, float.NaN, .. Enumerable.Range(0, 500).Select(i => (i - 250) * 0.0123f)];
        ushort[] ours = new ushort[values.Length];
        BFloat16Rounding.Narrow(values, ours);
        float[] back = new float[values.Length], rounded = [.. values];
        BFloat16Rounding.Widen(ours, back);
        BFloat16Rounding.Round(rounded);

        float[] expected = tensor(values).bfloat16().to_type(ScalarType.Float32).data<float>().ToArray();

        Assert.Equal(expected, back);
        Assert.Equal(expected, rounded);
    }

    static void Agree(ScalarType type, long[][] shapes, Func<TrainingKernels, Tensor[], Tensor[]> run)
    {
        using var scope = NewDisposeScope();
        using var generator = new Generator(4);
        Tensor[] values = [.. shapes.Select(shape => empty(shape).normal_(0.3, 1, generator).to_type(type))];
        Tensor[] Inputs() => [.. values.Select(value => value.detach().clone().requires_grad_(true))];
        Tensor[] expectedInputs = Inputs(), actualInputs = Inputs();

        Tensor[] expected = run(Reference, expectedInputs), actual = run(Fused, actualInputs);
        foreach ((Tensor e, Tensor a) in expected.Zip(actual))
        {
            Assert.Equal(e.dtype, a.dtype);
            TensorAssert.CloseNorm(e, a, Allowance(type), "value");
        }

        Tensor[] directions = [.. expected.Select(e => empty(e.shape).normal_(0, 1, generator).to_type(type))];
        autograd.backward(expected, directions);
        autograd.backward(actual, directions);
        for (int i = 0; i < values.Length; i++)
        {
            if (expectedInputs[i].grad!.to_type(ScalarType.Float32).norm().item<float>() > 1e-3) // a norm of one element has no gradient but rounding
            {
                TensorAssert.CloseNorm(expectedInputs[i].grad!, actualInputs[i].grad!, Allowance(type), $"gradient of input {i}");
            }
        }
    }
}
