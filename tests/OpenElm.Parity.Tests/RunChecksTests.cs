using OpenElm.Configuration;
using OpenElm.Verification.Golden;
using OpenElm.Verification.Gpu;

namespace OpenElm.Parity.Tests;

/// <summary>The checks of <c>openelm verify --device cuda</c> that can be made of a CPU run too.</summary>
public sealed class RunChecksTests
{
    static readonly OpenElmConfig Small = NamedConfigs.Get("openelm-270m") with { NumTransformerLayers = 2, ModelDim = 64, HeadDim = 16, VocabSize = 128 };

    [Fact]
    public void A_resumed_run_has_the_bits_of_a_run_at_one_go()
    {
        List<GoldenCheck> checks = GpuRunSuite.Repeated("cpu", Small, length: 24, deterministic: false, mustEqual: true);
        Assert.Contains(checks, check => check.Name.Contains("safetensors", StringComparison.Ordinal));
        Assert.All(checks, check => Assert.True(check.Passed, check.ToString()));
    }

    [Fact]
    public void Losses_and_norms_show_a_weight_that_is_no_number() =>
        Assert.All(GpuRunSuite.NotFinite("cpu"), check => Assert.True(check.Passed, check.ToString()));
}
