using OpenElm.Configuration;
using OpenElm.Training.Gpu;

namespace OpenElm.Training.Tests.Gpu;

public sealed class GpuEightBitsTests
{
    [Theory, InlineData("openelm-270m"), InlineData("openelm-3b")]
    public void The_shipped_sizes_can_have_products_in_eight_bits_on_Hopper_only(string size)
    {
        OpenElmConfig config = NamedConfigs.Get(size);
        Assert.Null(GpuEightBits.Refusal(config, computeCapability: 90));
        Assert.NotNull(GpuEightBits.Refusal(config, computeCapability: 80));
        Assert.Contains("multiples of 16", GpuEightBits.Refusal(config with { ModelDim = 72 }, computeCapability: 90), StringComparison.Ordinal);
    }

    [Fact]
    public void A_run_in_single_precision_or_a_deterministic_one_cannot_have_them()
    {
        static List<string> Problems(TrainerConfig trainer)
        {
            var problems = new List<string>();
            trainer.Validate("trainer", problems);
            return problems;
        }

        var run = new TrainerConfig { Steps = 1, Precision = Precision.Bf16, Fp8Products = true };
        Assert.Empty(Problems(run));
        Assert.Contains(Problems(run with { Precision = Precision.Fp32 }), problem => problem.Contains("fp8_products", StringComparison.Ordinal));
        Assert.Contains(Problems(run with { Deterministic = true }), problem => problem.Contains("fp8_products", StringComparison.Ordinal));
    }
}
