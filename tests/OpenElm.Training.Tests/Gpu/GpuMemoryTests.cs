using OpenElm.Configuration;
using OpenElm.Training.Gpu;
using OpenElm.Yaml;

namespace OpenElm.Training.Tests.Gpu;

public sealed class GpuMemoryTests
{
    // Measured on an H200 with 8 sequences of 2048 tokens (benchmarks/results/gpu-training-2026-11-27.md).
    [Theory]
    [InlineData("openelm-270m", false, false, 12.43)]
    [InlineData("openelm-270m", false, true, 12.99)]
    [InlineData("openelm-270m", true, false, 7.19)]
    [InlineData("openelm-1.1b", false, false, 35.84)]
    [InlineData("openelm-3b", false, true, 90.28)]
    [InlineData("openelm-3b", true, false, 55.07)]
    public void The_plan_is_within_three_percent_of_what_was_measured(string size, bool checkpointing, bool eightBits, double gigabytes)
    {
        OpenElmConfig config = NamedConfigs.Get(size) with { VocabSize = 32128 };
        Assert.Equal(1, GpuMemory.Of(config, Precision.Bf16, 8, 2048, accumulates: false, checkpointing, eightBits).TotalBytes / 1e9 / gigabytes, 0.03);
    }

    // The same measurements, and two ranks that sum gradients: those are in single precision, so logits have no place in them.
    [Theory]
    [InlineData("270m", 8, 12.43)]
    [InlineData("1.1b", 8, 35.84)]
    public void A_run_is_planned_for_a_gpu_that_is_elsewhere(string size, int sequences, double gigabytes)
    {
        RunConfig run = StrictYaml.Read<RunConfig>(Path.Combine(RepositoryFiles.Root, "configs", "training", $"{size}.yaml"),
            ["trainer.precision=bf16", $"trainer.micro_batch={sequences}", "trainer.accumulation=1", "trainer.activation_checkpointing=false", "trainer.ema_momentum=0"]);
        TrainingPlan plan = TrainingPlan.Of(run, "cuda");
        long parameters = plan.Parameters, logits = 2L * sequences * 2048 * 32128;
        Assert.Equal(1, plan.TotalBytes / 1e9 / gigabytes, 0.03);
        Assert.InRange(plan.BytesOnRank(Sharding.None, 1)!.Value, plan.TotalBytes + (2 * parameters), plan.TotalBytes + (2 * parameters) + logits);
        Assert.True(plan.BytesOnRank(Sharding.Parameters, 8) < plan.BytesOnRank(Sharding.Gradients, 8) && plan.BytesOnRank(Sharding.Gradients, 8) < plan.BytesOnRank(Sharding.Optimizer, 8));
    }

    [Fact]
    public void The_largest_micro_batch_fits_and_one_more_does_not()
    {
        OpenElmConfig config = NamedConfigs.Get("openelm-270m");
        const long memory = 80_000_000_000;
        int sequences = GpuMemory.LargestMicroBatch(config, Precision.Bf16, 2048, memory, checkpointing: false);
        Assert.True(GpuMemory.Of(config, Precision.Bf16, sequences, 2048, accumulates: true, checkpointing: false).TotalBytes <= memory);
        Assert.True(GpuMemory.Of(config, Precision.Bf16, sequences + 1, 2048, accumulates: true, checkpointing: false).TotalBytes > memory);
        Assert.Equal(0, GpuMemory.LargestMicroBatch(config, Precision.Bf16, 2048, availableBytes: 1_000_000_000, checkpointing: false));
    }

    [Fact]
    public void What_does_not_fit_is_said_with_the_settings_that_would()
    {
        OpenElmConfig config = NamedConfigs.Get("openelm-270m");
        string Message(int sequences, bool checkpointing, long memory) =>
            GpuMemory.TooLarge(config, new ModuleOptions { Precision = Precision.Bf16, ActivationCheckpointing = checkpointing }, sequences, 2048, new GpuPassOptions(), memory);
        int fits = GpuMemory.LargestMicroBatch(config, Precision.Bf16, 2048, 77_600_000_000, checkpointing: false);
        int checkpointed = GpuMemory.LargestMicroBatch(config, Precision.Bf16, 2048, 77_600_000_000, checkpointing: true);

        Assert.True(checkpointed > 2 * fits);
        Assert.Contains($"trainer.micro_batch to {fits} or less (it is 500)", Message(500, checkpointing: false, 80_000_000_000), StringComparison.Ordinal);
        Assert.Contains($"trainer.activation_checkpointing, with which {checkpointed} fit", Message(500, checkpointing: false, 80_000_000_000), StringComparison.Ordinal);
        Assert.DoesNotContain("activation_checkpointing", Message(500, checkpointing: true, 80_000_000_000), StringComparison.Ordinal);
        Assert.Contains("a smaller model", Message(1, checkpointing: false, 2_000_000_000), StringComparison.Ordinal);
    }

    [Fact]
    public void Logits_lie_in_gradients_that_are_large_enough_and_not_in_use()
    {
        Assert.True(GpuGradients.HoldLogits(100, 100, accumulates: false));
        Assert.False(GpuGradients.HoldLogits(101, 100, accumulates: false));
        Assert.False(GpuGradients.HoldLogits(100, 100, accumulates: true));
    }
}
