using OpenElm.Configuration;
using OpenElm.Training.Gpu;

namespace OpenElm.Training.Tests.Gpu;

public sealed class GpuSwiGluProductsTests
{
    static readonly GpuTypes Bf16 = GpuTypes.Of(Precision.Bf16, accumulates: false);

    [Theory, InlineData("openelm-270m"), InlineData("openelm-450m"), InlineData("openelm-1.1b"), InlineData("openelm-3b")]
    public void The_shipped_sizes_can_use_them_in_bfloat16_on_Hopper_only(string size)
    {
        OpenElmConfig config = NamedConfigs.Get(size);
        Assert.Null(GpuSwiGluProducts.Refusal(config, computeCapability: 90, Bf16));
        Assert.Null(GpuSwiGluProducts.Refusal(config, computeCapability: 90, GpuTypes.Of(Precision.Autocast, accumulates: true)));
        Assert.Contains("Hopper", GpuSwiGluProducts.Refusal(config, computeCapability: 80, Bf16), StringComparison.Ordinal);
        Assert.Contains("Hopper", GpuSwiGluProducts.Refusal(config, computeCapability: 100, Bf16), StringComparison.Ordinal);
        Assert.Contains("bfloat16", GpuSwiGluProducts.Refusal(config, computeCapability: 90, GpuTypes.Of(Precision.Fp32, accumulates: false)), StringComparison.Ordinal);
        Assert.Contains("eight bits", GpuSwiGluProducts.Refusal(config, computeCapability: 90, Bf16 with { EightBits = true }), StringComparison.Ordinal);
    }

    [Fact]
    public void Rows_have_to_begin_at_multiples_of_16_bytes() =>
        Assert.Contains("multiples of 8", GpuSwiGluProducts.Refusal(NamedConfigs.Get("openelm-270m") with { ModelDim = 1284 }, computeCapability: 90, Bf16), StringComparison.Ordinal);
}
