using System.Diagnostics;

namespace OpenElm.Distributed.Tests;

/// <summary>A rank that fails ends the job in time and is named; the last good checkpoint stands, and the run goes on from it, also on fewer ranks.</summary>
public sealed class FaultTests : IDisposable
{
    readonly TinyRun _run = new();

    public void Dispose() => _run.Dispose();

    [Fact]
    public async Task A_hung_rank_is_named_and_ends_the_job_in_time()
    {
        Ranks.Require();
        using Process job = Start("hung", 2);
        await WaitForStep("hung", 12, job);
        await Ranks.Signal("STOP", Ranks.ProcessOf(_run.Folder, 1));
        long begin = Stopwatch.GetTimestamp();
        (int code, _, string error) = await Ranks.EndOf(job);
        Assert.InRange(Stopwatch.GetElapsedTime(begin).TotalSeconds, 4, 30); // patience of 5 s, and the roll call
        Assert.NotEqual(0, code);
        Assert.Contains($"rank 1 on {Environment.MachineName} has not answered for 5 s", error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_killed_rank_ends_the_job_and_one_rank_goes_on_from_the_last_checkpoint()
    {
        Ranks.Require();
        await Ranks.Succeed(_run.Folder, 0, TinyRun.Arguments("straight"));
        using (Process job = Start("killed", 2))
        {
            await WaitForStep("killed", 25, job);
            await Ranks.Signal("KILL", Ranks.ProcessOf(_run.Folder, 1));
            (int code, _, string error) = await Ranks.EndOf(job);
            Assert.NotEqual(0, code);
            Assert.Contains("rank 1", error, StringComparison.Ordinal); // mpirun says it
        }

        await Ranks.Succeed(_run.Folder, 0, [.. TinyRun.Arguments("killed"), "--resume", "auto"]);
        Assert.Equal(TinyRun.Steps, _run.Log("killed").Last(line => line.Kind == "step").Step);
        var straight = _run.Log("straight").Last(line => line.Kind == "step");
        Assert.InRange(_run.Log("killed").Last(line => line.Kind == "step").Loss, straight.Loss * (1 - 1e-5), straight.Loss * (1 + 1e-5));
    }

    [Fact]
    public async Task A_run_that_diverges_ends_with_one_sentence()
    {
        Ranks.Require();
        (int code, _, string error) = await Ranks.Run(_run.Folder, 2, TinyRun.Arguments("nan", "schedule.max_learning_rate=1.0e+30", "trainer.clip_grad_norm=0"));
        Assert.Equal(2, code);
        Assert.Contains("is not a finite number at update", error, StringComparison.Ordinal);
        Assert.Matches(@"openelm: rank \d on .+ ends the job: .* at update \d+ (on rank|\(of all ranks)", error);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_rank_without_memory_ends_the_job_with_one_line(bool isEveryRank)
    {
        Ranks.Require();
        // Addresses that a small run needs; the large model needs four times 216 MB more, which the limit does not allow.
        long limit;
        using (Process small = Ranks.Start(_run.Folder, Limited("unlimited", TinyRun.Arguments("small", "trainer.steps=10"))))
        {
            _ = small.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken);
            _ = small.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken);
            limit = await Ranks.MostAddresses(_run.Folder, 1, small) + 300_000;
        }

        using Process job = Ranks.Start(_run.Folder, Limited($"{limit}", TinyRun.Arguments("large", "model.vocab_size=1500000")));
        (int code, _, string error) = await Ranks.EndOf(job);
        Assert.Equal(2, code);
        string line = Assert.Single(error.Split('\n'), line => line.StartsWith("openelm: rank ", StringComparison.Ordinal));
        Assert.Matches($@"^openelm: rank {(isEveryRank ? @"\d" : "1")} on {Environment.MachineName} ends the job: out of memory: [0-9,]+ bytes more could not be had$", line);
        Assert.DoesNotContain("   at ", error, StringComparison.Ordinal); // no bug, no stack

        string[] Limited(string kilobytes, string[] args)
        {
            string[] program = ["dotnet", Path.Combine(AppContext.BaseDirectory, "openelm.dll"), .. args];
            string[] limited = ["sh", "-c", $"ulimit -v {kilobytes}; exec \"$@\"", "sh", .. program];
            // .NET and glibc reserve addresses that they never use; less of them.
            return ["env", "DOTNET_GCHeapHardLimit=0x20000000", "MALLOC_ARENA_MAX=2", "mpirun", "--oversubscribe", "--bind-to", "none", "-n", "1", .. isEveryRank ? limited : program, ":", "-n", "1", .. limited];
        }
    }

    [Fact]
    public async Task Ranks_that_differ_are_refused_at_the_start()
    {
        Ranks.Require();
        string[] Program(string rate) => ["dotnet", Path.Combine(AppContext.BaseDirectory, "openelm.dll"), .. TinyRun.Arguments("differ", $"schedule.max_learning_rate={rate}")];
        using Process job = Ranks.Start(_run.Folder, ["mpirun", "--oversubscribe", "--bind-to", "none", "-n", "1", .. Program("0.005"), ":", "-n", "1", .. Program("0.006")]);
        (int code, _, string error) = await Ranks.EndOf(job);
        Assert.Equal(2, code);
        Assert.Contains("Ranks differ in their configuration: rank 1", error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_mistake_in_the_configuration_is_told_once()
    {
        Ranks.Require();
        (int code, _, string error) = await Ranks.Run(_run.Folder, 2, TinyRun.Arguments("wrong", "data.sequence_length=4096"));
        Assert.Equal(2, code);
        Assert.Single(error.Split('\n'), line => line.Contains("data.sequence_length is 4096", StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_rank_that_is_told_to_stop_stops_all_and_saves()
    {
        Ranks.Require();
        using Process job = Start("stopped", 2);
        await WaitForStep("stopped", 12, job);
        await Ranks.Signal("TERM", Ranks.ProcessOf(_run.Folder, 1));
        (int code, _, string error) = await Ranks.EndOf(job);
        Assert.NotEqual(0, code);
        Assert.Contains("go on with --resume auto", error, StringComparison.Ordinal);
        await Ranks.Succeed(_run.Folder, 2, [.. TinyRun.Arguments("stopped"), "--resume", "auto"]);
        Assert.Equal(Enumerable.Range(1, TinyRun.Steps), _run.Log("stopped").Where(line => line.Kind == "step").Select(line => line.Step));
    }

    [Fact]
    public async Task Twenty_random_kills_of_random_ranks_leave_a_run_that_ends_as_one_left_alone()
    {
        Ranks.Require();
        Assert.SkipUnless(Environment.GetEnvironmentVariable("OPENELM_SLOW_TESTS") == "1", "takes minutes: set OPENELM_SLOW_TESTS=1");
        await Ranks.Succeed(_run.Folder, 0, TinyRun.Arguments("straight", "checkpoints.every=2"));
        var random = new Random(7);
        int killed = 0;
        for (int kill = 0; kill < 20; kill++)
        {
            int ranks = random.Next(2) == 0 ? 2 : 4, done = File.Exists(_run["killed/metrics.jsonl"]) ? _run.Log("killed").Select(line => line.Step).DefaultIfEmpty().Max() : 0;
            using Process job = Ranks.Start(_run.Folder, ranks, [.. TinyRun.Arguments("killed", "checkpoints.every=2", "distributed.timeout_seconds=10"), "--resume", "auto"]);
            _ = job.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken);
            _ = job.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken);
            await WaitForStep("killed", Math.Min(done + 2, TinyRun.Steps - 2), job);
            await Task.Delay(random.Next(300), TestContext.Current.CancellationToken);
            if (Ranks.FindProcess(_run.Folder, random.Next(ranks)) is { } process) // near the run's end a job may be over by now
            {
                await Ranks.Signal("KILL", process);
                killed++;
            }

            await job.WaitForExitAsync(TestContext.Current.CancellationToken);
        }

        Assert.InRange(killed, 15, 20);
        await Ranks.Succeed(_run.Folder, 2, [.. TinyRun.Arguments("killed", "checkpoints.every=2"), "--resume", "auto"]);
        _run.AssertSame("straight", "killed");
    }

    Process Start(string output, int ranks) => Ranks.Start(_run.Folder, ranks, TinyRun.Arguments(output, "distributed.timeout_seconds=5", "trainer.steps=50"));

    async Task WaitForStep(string output, int step, Process job)
    {
        while (!job.HasExited && (!File.Exists(_run[$"{output}/metrics.jsonl"]) || !File.ReadAllText(_run[$"{output}/metrics.jsonl"]).Contains($"\"step\":{step},", StringComparison.Ordinal)))
        {
            await Task.Delay(20, TestContext.Current.CancellationToken);
        }
    }
}
