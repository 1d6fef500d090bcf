using OpenElm.Checkpoints;
using OpenElm.Training.Optimization;
using static TorchSharp.torch;

namespace OpenElm.Training.Tests.Optimization;

public sealed class GradientClippingTests
{
    [Theory]
    [InlineData(0.5)]
    [InlineData(1e9)]
    public void Clips_as_the_stock_function_and_returns_the_norm_before(double bound)
    {
        using var scope = NewDisposeScope();
        using OpenElmModule ours = WithGradients(), stock = WithGradients();

        float norm = GradientClipping.ClipByGlobalNorm(ours.Weights, bound).item<float>();
        double expected = nn.utils.clip_grad_norm_(stock.Weights.Select(weight => weight.Value), bound);

        Assert.Equal(expected, norm, expected * 1e-6);
        Assert.All(ours.Weights.Zip(stock.Weights).Skip(1), pair => TensorAssert.Close(pair.Second.Value.grad!, pair.First.Value.grad!, 1e-5, 1e-9, pair.First.Name));
    }

    [Fact]
    public void Without_a_bound_it_only_measures()
    {
        using var scope = NewDisposeScope();
        using OpenElmModule measured = WithGradients(), untouched = WithGradients();

        GradientClipping.ClipByGlobalNorm(measured.Weights, double.PositiveInfinity);

        Assert.All(measured.Weights.Zip(untouched.Weights).Skip(1), pair => TensorAssert.Same(pair.Second.Value.grad!, pair.First.Value.grad!, pair.First.Name));
    }

    [Fact]
    public void The_moving_average_follows_its_formula_and_survives_a_file()
    {
        using var scope = NewDisposeScope();
        using var folder = new TemporaryFolder();
        Tensor weight = tensor(new float[] { 1, 2, 3 });
        using var average = new ExponentialMovingAverage([("w", weight)], 0.25);
        weight.add_(4);
        average.Update();
        average.Update();
        SafetensorsWriter.Write(folder["ema"], average.ToSources());

        // 4 · (1 − 0.75²) = 1.75
        using SafetensorsFile stored = SafetensorsFile.Open(folder["ema"]);
        Assert.Equal([2.75f, 3.75f, 4.75f], stored["w"].ToFloats());
        using var loaded = new ExponentialMovingAverage([("w", weight)], 0.25);
        loaded.Load(stored.Tensors);
        SafetensorsWriter.Write(folder["again"], loaded.ToSources());
        using SafetensorsFile again = SafetensorsFile.Open(folder["again"]);
        Assert.Equal([2.75f, 3.75f, 4.75f], again["w"].ToFloats());
        Assert.Throws<OpenElmException>(() => new ExponentialMovingAverage([], 0));
    }

    static OpenElmModule WithGradients()
    {
        OpenElmModule module = SmallModels.Create(SmallModels.Layerwise, new ModuleOptions());
        using var generator = new Generator(9);
        foreach (NamedWeight weight in module.Weights.Skip(1)) // one weight without a gradient
        {
            weight.Value.grad = empty(weight.Value.shape).normal_(0, 1, generator);
        }

        return module;
    }
}
