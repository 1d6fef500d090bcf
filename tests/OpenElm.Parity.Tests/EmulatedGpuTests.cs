using OpenElm.Configuration;
using OpenElm.Cuda;
using OpenElm.Training;
using OpenElm.Training.Torch;
using OpenElm.Verification.Golden;
using OpenElm.Verification.Gpu;

namespace OpenElm.Parity.Tests;

/// <summary>
/// The training kernels of the GPU on a processor, where tests/CudaEmulator stands for driver and compiler: every kernel against the reference kernels. A real GPU is checked by
/// <c>openelm verify --device cuda</c>.
/// </summary>
public sealed class EmulatedGpuTests
{
    public static TheoryData<string> Configs => [.. Widths.Keys];

    static Dictionary<string, OpenElmConfig> Widths => GpuKernelSuite.OddConfigs
        .Concat(new[] { (1280, 64), (1536, 64), (2048, 64), (3072, 128) }.Select(shipped => ($"{shipped.Item1}", Narrow with { ModelDim = shipped.Item1, HeadDim = shipped.Item2 })))
        .Append(("wider than a block", Narrow with { ModelDim = 8256 })).Append(("narrow", Narrow)).ToDictionary(entry => entry.Item1, entry => entry.Item2);

    static OpenElmConfig Narrow => NamedConfigs.Get("openelm-270m") with { NumTransformerLayers = 2, ModelDim = 64, HeadDim = 32, VocabSize = 512 };

    [Theory, MemberData(nameof(Configs))]
    public void Every_kernel_agrees_with_the_reference(string widths)
    {
        SkipWithoutEmulator();
        foreach (GoldenResult result in GpuKernelSuite.Run("cpu", widths, Widths[widths]))
        {
            Passed(result.Checks);
        }
    }

    [Theory, InlineData(false), InlineData(true)]
    public void The_pass_has_the_losses_and_gradients_of_the_reference(bool isPacked)
    {
        SkipWithoutEmulator();
        Passed(GpuPassSuite.AgainstReference("cpu", Narrow, Precision.Fp32, length: 24, isPacked));
        Passed(GpuPassSuite.AgainstReference("cpu", Narrow with { ShareInputOutputLayers = false }, Precision.Fp32, length: 24, isPacked));
    }

    [Theory, InlineData(Precision.Bf16, true), InlineData(Precision.Autocast, true), InlineData(Precision.Bf16, null)]
    public void The_pass_agrees_with_the_reference_where_products_have_SwiGlu_in_their_last_step(Precision precision, bool? everywhere)
    {
        SkipWithoutEmulator();
        Passed(GpuPassSuite.AgainstReference("cpu", Narrow, precision, length: 24, isPacked: false, joinsSwiGlu: everywhere));
    }

    [Fact]
    public void Two_ways_are_timed_once_where_they_agree()
    {
        SkipWithoutEmulator();
        using MatrixProducts products = new(0, 0, "Emulated");
        void Slow() => Thread.Sleep(2);
        void Fast()
        {
        }

        (float Usual, float Other)? times = products.Compare("waiting", usual: Slow, other: Fast, agree: () => true, 0);
        Assert.True(times is { Usual: > 1500, Other: < 1500 }, $"{times}");
        Assert.Equal(times, products.Compare("waiting", usual: Fast, other: Slow, agree: () => throw new InvalidOperationException("it is known"), 0));
        Assert.Null(products.Compare("waiting apart", usual: Slow, other: Fast, agree: () => false, 0));
        Assert.NotNull(products.Compare("waiting apart", usual: Slow, other: Fast, agree: () => true, 0)); // nothing was kept
    }

    [Theory, InlineData(Precision.Fp32, false), InlineData(Precision.Bf16, true)]
    public void Layers_that_are_computed_again_give_the_same_bits(Precision precision, bool joinsSwiGlu)
    {
        SkipWithoutEmulator();
        var options = new ModuleOptions { Kernels = KernelChoice.Fused, Precision = precision };
        Passed(GpuPassSuite.AgainstEachOther(Narrow with { NumTransformerLayers = 3 }, length: 24, options, options with { ActivationCheckpointing = true }, recorded: false, joinsSwiGlu, allowance: 0));
    }

    static void Passed(IReadOnlyCollection<GoldenCheck> checks)
    {
        Assert.NotEmpty(checks);
        Assert.All(checks, check => Assert.True(check.Passed, check.ToString()));
    }

    static void SkipWithoutEmulator()
    {
        Assert.SkipUnless(CudaLibraries.AreAvailable(out _) && new CudaDevice().Name == "Emulated", "tests/CudaEmulator is not in the library path");
        TorchLibrary.EnsureLoaded();
    }
}
