using OpenElm.Configuration;
using OpenElm.Cuda;
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

    static Dictionary<string, OpenElmConfig> Widths => GpuKernelSuite.OddConfigs.Append(("wide", Narrow with { ModelDim = 1536 })).Append(("narrow", Narrow)).ToDictionary(entry => entry.Item1, entry => entry.Item2);

    static OpenElmConfig Narrow => NamedConfigs.Get("openelm-270m") with { NumTransformerLayers = 2, ModelDim = 64, HeadDim = 32, VocabSize = 512 };

    [Theory, MemberData(nameof(Configs))]
    public void Every_kernel_agrees_with_the_reference(string widths)
    {
        Assert.SkipUnless(CudaLibraries.AreAvailable(out _) && new CudaDevice().Name == "Emulated", "tests/CudaEmulator is not in the library path");
        TorchLibrary.EnsureLoaded();
        foreach (GoldenResult result in GpuKernelSuite.Run("cpu", widths, Widths[widths]))
        {
            Assert.NotEmpty(result.Checks);
            Assert.All(result.Checks, check => Assert.True(check.Passed, $"{result.File}: {check}"));
        }
    }
}
