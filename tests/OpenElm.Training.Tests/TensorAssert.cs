using static TorchSharp.torch;

namespace OpenElm.Training.Tests;

/// <summary>Comparisons of tensors that say where and by how much they fail.</summary>
internal static class TensorAssert
{
    /// <summary>|expected − actual| ≤ atol + rtol · |expected| for every element.</summary>
    public static void Close(Tensor expected, Tensor actual, double rtol, double atol, string what = "")
    {
        using var scope = NewDisposeScope();
        Assert.Equal(expected.shape, actual.shape);
        Tensor e = expected.detach().to(ScalarType.Float64).flatten(), a = actual.detach().to(ScalarType.Float64).flatten();
        Tensor excess = (e - a).abs() - (atol + (rtol * e.abs()));
        long worst = excess.nan_to_num(double.PositiveInfinity).argmax().item<long>();
        Assert.True(excess[worst].item<double>() <= 0, $"{what}[{worst}]: expected {e[worst].item<double>()}, actual {a[worst].item<double>()}, rtol {rtol}, atol {atol}");
    }

    /// <summary>‖expected − actual‖ ≤ allowance · ‖expected‖.</summary>
    public static void CloseNorm(Tensor expected, Tensor actual, double allowance, string what = "")
    {
        using var scope = NewDisposeScope();
        Assert.Equal(expected.shape, actual.shape);
        Tensor e = expected.detach().to(ScalarType.Float64), a = actual.detach().to(ScalarType.Float64);
        double error = (e - a).norm().item<double>() / e.norm().item<double>();
        Assert.True(error <= allowance, $"{what}: relative norm {error} above {allowance}");
    }

    /// <summary>The same bits.</summary>
    public static void Same(Tensor expected, Tensor actual, string what = "")
    {
        Assert.Equal(expected.shape, actual.shape);
        Assert.True(expected.eq(actual).all().item<bool>(), $"{what} differs");
    }
}
