using OpenElm.Configuration;
using OpenElm.Training.Gpu;

namespace OpenElm.Training.Tests.Gpu;

public sealed class GpuMemoryTests
{
    // Measured on one H100 with 8 sequences of 2048 tokens (benchmarks/results/gpu-training-2026-11-27.md).
    [Theory]
    [InlineData("openelm-270m", Precision.Bf16, false, 12.37)]
    [InlineData("openelm-270m", Precision.Bf16, true, 12.98)]
    [InlineData("openelm-270m", Precision.Autocast, false, 14.39)]
    [InlineData("openelm-1.1b", Precision.Bf16, false, 36.73)]
    public void The_plan_is_within_three_percent_of_what_was_measured(string size, Precision precision, bool accumulates, double gigabytes)
    {
        OpenElmConfig config = NamedConfigs.Get(size) with { VocabSize = 32128 };
        Assert.Equal(1, GpuMemory.Of(config, precision, 8, 2048, accumulates).TotalBytes / 1e9 / gigabytes, 0.03);
    }

    [Fact]
    public void The_largest_micro_batch_fits_and_one_more_does_not()
    {
        OpenElmConfig config = NamedConfigs.Get("openelm-270m");
        const long memory = 80_000_000_000;
        int sequences = GpuMemory.LargestMicroBatch(config, Precision.Bf16, 2048, memory);
        Assert.True(GpuMemory.Of(config, Precision.Bf16, sequences, 2048, accumulates: true).TotalBytes <= memory);
        Assert.True(GpuMemory.Of(config, Precision.Bf16, sequences + 1, 2048, accumulates: true).TotalBytes > memory);
        Assert.Equal(0, GpuMemory.LargestMicroBatch(config, Precision.Bf16, 2048, availableBytes: 1_000_000_000));
    }
}
