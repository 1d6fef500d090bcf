using OpenElm.Configuration;
using OpenElm.Cuda;
using OpenElm.Training.Gpu;
using static TorchSharp.torch;

namespace OpenElm.Training.Tests.Gpu;

/// <summary>Kernels compile without a GPU, wherever NVIDIA's compiler is; what they compute, <c>openelm verify --device cuda</c> checks.</summary>
public sealed class KernelSourceTests
{
    const int Hopper = 90, Ampere = 80;

    [Theory, InlineData("openelm-270m", Hopper), InlineData("openelm-3b", Hopper), InlineData("odd", Hopper), InlineData("openelm-270m", Ampere)]
    public void Every_kernel_compiles_for_every_number_format(string size, int architecture)
    {
        Assert.SkipUnless(KernelCompiler.IsAvailable, "no NVRTC on this machine");
        OpenElmConfig config = size == "odd" ? NamedConfigs.Get("openelm-270m") with { ModelDim = 65, HeadDim = 24, VocabSize = 301 } : NamedConfigs.Get(size);
        foreach (string name in GpuKernels.Names)
        {
            foreach (GpuTypes types in new GpuTypes[]
            {
                new(ScalarType.BFloat16, ScalarType.BFloat16, ScalarType.BFloat16), new(ScalarType.BFloat16, ScalarType.BFloat16, ScalarType.Float32),
                new(ScalarType.Float32, ScalarType.BFloat16, ScalarType.Float32), new(ScalarType.Float32, ScalarType.Float32, ScalarType.Float32),
            })
            {
                Assert.NotEmpty(GpuKernels.Compile(name, architecture, config, types));
            }

            if (architecture == Hopper)
            {
                Assert.NotEmpty(GpuKernels.Compile(name, architecture, config, GpuTypes.Of(Precision.Bf16, accumulates: false, eightBits: true)));
            }
        }
    }

    [Theory, InlineData(false), InlineData(true)]
    public void Products_with_SwiGlu_in_their_last_step_compile_for_Hopper(bool isBackward)
    {
        Assert.SkipUnless(KernelCompiler.IsAvailable, "no NVRTC on this machine");
        Assert.NotEmpty(GpuSwiGluProducts.Compile(Hopper, isBackward));
    }

    [Fact]
    public void A_source_that_does_not_compile_is_named_with_the_compilers_words()
    {
        Assert.SkipUnless(KernelCompiler.IsAvailable, "no NVRTC on this machine");
        CudaException failure = Assert.Throws<CudaException>(() => KernelCompiler.Compile("broken", "extern \"C\" __global__ void f() { nothing(); }", Hopper, new Dictionary<string, string>()));
        Assert.Contains("broken.cu", failure.Message, StringComparison.Ordinal);
        Assert.Contains("nothing", failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void The_optimizers_table_has_the_kernels_layout() => Assert.Equal(64, GpuAdamW.SlotBytes); // six addresses, a count, a decay, padding
}
