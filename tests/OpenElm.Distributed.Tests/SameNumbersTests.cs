using System.Text.Json;
using OpenElm.Checkpoints;

namespace OpenElm.Distributed.Tests;

/// <summary>A run gives the same losses on any number of ranks and at every level of sharding, and its checkpoints fit all of them.</summary>
public sealed class SameNumbersTests(SameNumbersTests.AloneRun alone) : IClassFixture<SameNumbersTests.AloneRun>
{
    const string Checkpointing = "trainer.activation_checkpointing=true"; // without which parameters are not divided on a CPU

    /// <summary>The run that others are compared with: one process, without mpirun.</summary>
    public sealed class AloneRun : IAsyncLifetime, IDisposable
    {
        public TinyRun Run { get; } = new();

        public async ValueTask InitializeAsync() => await Ranks.Succeed(Run.Folder, 0, TinyRun.Arguments("alone"));

        public ValueTask DisposeAsync()
        {
            Dispose();
            return ValueTask.CompletedTask;
        }

        public void Dispose() => Run.Dispose();
    }

    [Theory]
    [InlineData(1, "none")]
    [InlineData(2, "none")]
    [InlineData(2, "optimizer")]
    [InlineData(2, "gradients")]
    [InlineData(2, "parameters")]
    [InlineData(4, "none")]
    [InlineData(4, "optimizer")]
    [InlineData(4, "gradients")]
    [InlineData(4, "parameters")]
    [InlineData(8, "gradients")] // more ranks than micro-batches: each has two sequences of four
    public async Task Losses_norms_and_validations_are_those_of_one_process(int ranks, string sharding)
    {
        Ranks.Require();
        Assert.SkipWhen((ranks == 8 || (ranks == 4 && sharding is ("none" or "gradients"))) && Environment.GetEnvironmentVariable("OPENELM_SLOW_TESTS") != "1", "takes a minute on two cores: set OPENELM_SLOW_TESTS=1");
        string output = $"{ranks}-{sharding}";
        await Ranks.Succeed(alone.Run.Folder, ranks, TinyRun.Arguments(output, $"distributed.sharding={sharding}", sharding == "parameters" ? Checkpointing : "trainer.activation_checkpointing=false"));
        alone.Run.AssertSame("alone", output);

        // One log, one report, whole checkpoints with whole tensors; the moving average of the weights too.
        Assert.True(File.Exists(alone.Run[$"{output}/report.html"]));
        using SafetensorsFile one = SafetensorsFile.Open(alone.Run["alone/ema/model.safetensors"]), other = SafetensorsFile.Open(alone.Run[$"{output}/ema/model.safetensors"]);
        Assert.Equal(one.Tensors.Keys.Order(), other.Tensors.Keys.Order());
        Assert.All(one.Tensors, tensor =>
        {
            float[] expected = tensor.Value.ToFloats(), actual = other.Tensors[tensor.Key].ToFloats();
            double difference = Math.Sqrt(expected.Zip(actual, (x, y) => Math.Pow(x - y, 2)).Sum() / expected.Sum(x => Math.Pow(x, 2)));
            Assert.InRange(difference, 0, 1e-4);
        });
    }

    [Theory]
    [InlineData(2, "optimizer", 4, "gradients")]
    [InlineData(4, "parameters", 0, "none")]
    [InlineData(0, "none", 2, "parameters")]
    public async Task A_checkpoint_of_some_ranks_goes_on_with_others(int before, string shardingBefore, int after, string shardingAfter)
    {
        Ranks.Require();
        string output = $"from-{before}-to-{after}";
        // Stopped at update 20 of the same schedule: no sequence is lost, and none is seen twice.
        await Ranks.Succeed(alone.Run.Folder, before, TinyRun.Arguments(output, "trainer.steps=20", $"distributed.sharding={shardingBefore}", Checkpointing));
        await Ranks.Succeed(alone.Run.Folder, after, [.. TinyRun.Arguments(output, $"distributed.sharding={shardingAfter}", Checkpointing), "--resume", "auto"]);
        var straight = alone.Run.Log("alone").Where(line => line.Kind == "step");
        var resumed = alone.Run.Log(output).Where(line => line.Kind == "step").ToArray();
        Assert.Equal(straight.Select(line => (line.Step, line.Tokens)), resumed.Select(line => (line.Step, line.Tokens)));
        Assert.All(straight.Zip(resumed), pair => Assert.InRange(pair.Second.Loss, pair.First.Loss * (1 - 1e-5), pair.First.Loss * (1 + 1e-5)));
    }

    [Fact]
    public async Task Several_ranks_divide_the_optimizer_unless_they_are_told_otherwise()
    {
        Ranks.Require();
        string[] bench = ["bench", "train", "--size", "gpt-test", "--vocab", "500", "--precision", "fp32", "--micro-batch", "1", "--sequence-length", "16", "--warmup", "1", "--steps", "1", "--windows", "1", "--json"];
        foreach ((int ranks, string[] choice, string expected) in new[] { (0, [], "none"), (1, [], "none"), (2, [], "optimizer"), (2, new[] { "--sharding", "none" }, "none") })
        {
            (int code, string output, string error) = await Ranks.Run(alone.Run.Folder, ranks, [.. bench, .. choice]);
            Assert.True(code == 0, error);
            using JsonDocument document = JsonDocument.Parse(output[output.IndexOf('{', StringComparison.Ordinal)..]);
            Assert.Equal(expected, document.RootElement.GetProperty("sharding").GetString());
        }

        await Ranks.Succeed(alone.Run.Folder, 2, TinyRun.Arguments("2-default"));
        alone.Run.AssertSame("alone", "2-default");
    }

    [Fact]
    public async Task The_mean_of_micro_batches_is_the_same_for_any_ranks_too()
    {
        Ranks.Require();
        await Ranks.Succeed(alone.Run.Folder, 0, TinyRun.Arguments("mean-0", "trainer.accumulation_reduction=mean", "trainer.clip_grad_norm=0.5"));
        await Ranks.Succeed(alone.Run.Folder, 2, TinyRun.Arguments("mean-2", "trainer.accumulation_reduction=mean", "trainer.clip_grad_norm=0.5", "distributed.sharding=gradients"));
        alone.Run.AssertSame("mean-0", "mean-2");
    }

    [Fact]
    public async Task Ranks_that_an_update_cannot_be_divided_among_are_refused()
    {
        Ranks.Require();
        (int code, _, string error) = await Ranks.Run(alone.Run.Folder, 3, TinyRun.Arguments("three"));
        Assert.NotEqual(0, code);
        Assert.Contains("cannot be divided evenly among 3 ranks", error, StringComparison.Ordinal);
    }
}
