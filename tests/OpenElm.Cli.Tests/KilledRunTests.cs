using System.Diagnostics;
using System.Text.Json;

namespace OpenElm.Cli.Tests;

/// <summary>Real processes that are killed without warning: the last good checkpoint loads, and the end is the same to the bit.</summary>
public sealed class KilledRunTests : IDisposable
{
    const int Steps = 60;

    readonly TemporaryFolder _folder = new();

    public KilledRunTests()
    {
        var random = new Random(5);
        string[] words = ["sun", "moon", "river", "stone", "bread", "salt", "king", "bird"];
        File.WriteAllLines(_folder["text.jsonl"], Enumerable.Range(0, 80).Select(_ =>
            JsonSerializer.Serialize(new { text = string.Join(' ', Enumerable.Range(0, 60).Select(_ => words[random.Next(words.Length)])) })));
        File.WriteAllText(_folder["run.yaml"], $$"""
            output: run
            model: { num_transformer_layers: 2, model_dim: 32, head_dim: 8, num_gqa_groups: 2, qkv_multipliers: 1.0, ffn_multipliers: 2.0, ffn_dim_divisor: 16,
                     normalize_qk_projections: true, share_input_output_layers: true, vocab_size: 384, max_context_length: 32 }
            tokenizer: { train: { vocab_size: 310 } }
            data: { mode: packing, sequence_length: 32, sources: [{ file_name: text.jsonl }] }
            schedule: { max_learning_rate: 0.01, min_learning_rate: 0.001, warmup_iterations: 5 }
            trainer: { steps: {{Steps}}, micro_batch: 4, log_every: 1 }
            checkpoints: { every: 4, keep_last: 3, average_last: 3 }
            """);
    }

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task A_run_killed_at_random_moments_ends_as_one_that_was_left_alone()
    {
        Assert.Equal(0, await Pretrain("straight", killAfterStep: null));
        var random = new Random(7);
        for (int kill = 0; kill < 4; kill++)
        {
            // Somewhere in the 15 updates of this part, at whatever the process is doing then: computing, saving, deleting.
            Assert.NotEqual(0, await Pretrain("killed", killAfterStep: (15 * kill) + 2 + random.Next(10), random.Next(30)));
        }

        Assert.Equal(0, await Pretrain("killed", killAfterStep: null));
        foreach (string file in new[] { $"checkpoints/step-{Steps:d8}/model.safetensors", $"checkpoints/step-{Steps:d8}/trainer/optimizer.safetensors", "average/model.safetensors" })
        {
            Assert.Equal(File.ReadAllBytes(_folder[$"straight/{file}"]), File.ReadAllBytes(_folder[$"killed/{file}"]));
        }

        Assert.Empty(Directory.GetFileSystemEntries(_folder["killed"], "*.partial", SearchOption.AllDirectories));
        Assert.Equal(Enumerable.Range(1, Steps), LoggedSteps(_folder["killed/metrics.jsonl"]));
    }

    [Fact]
    public async Task A_wish_to_stop_saves_a_checkpoint_and_says_how_to_go_on()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "Windows has no signals to send to another process");
        using Process process = Start("run");
        await WaitForStep("run", 5, process);
        // SIGTERM takes the same way as Ctrl-C; SIGINT itself is ignored by children of a shell's background jobs.
        using (Process signal = Process.Start("kill", ["-TERM", $"{process.Id}"]))
        {
            await signal.WaitForExitAsync(TestContext.Current.CancellationToken);
        }

        string error = await process.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken);
        await process.WaitForExitAsync(TestContext.Current.CancellationToken);
        Assert.Equal(143, process.ExitCode);
        Assert.Contains("--resume auto", error, StringComparison.Ordinal);
        Assert.NotEmpty(Directory.GetDirectories(_folder["run/checkpoints"]));
        Assert.Equal(0, await Pretrain("run", killAfterStep: null));
    }

    async Task<int> Pretrain(string output, int? killAfterStep, int delayMilliseconds = 0)
    {
        using Process process = Start(output);
        _ = process.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken);
        Task<string> error = process.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken);
        if (killAfterStep is { } step)
        {
            await WaitForStep(output, step, process);
            await Task.Delay(delayMilliseconds, TestContext.Current.CancellationToken);
            process.Kill();
        }

        await process.WaitForExitAsync(TestContext.Current.CancellationToken);
        Assert.True(killAfterStep is not null || process.ExitCode == 0, await error);
        return process.ExitCode;
    }

    Process Start(string output) => Process.Start(new ProcessStartInfo(
        "dotnet", [Path.Combine(AppContext.BaseDirectory, "openelm.dll"), "pretrain", "run.yaml", "--set", $"output={output}", "--resume", "auto"])
    {
        WorkingDirectory = _folder.Path,
        RedirectStandardOutput = true,
        RedirectStandardError = true,
    })!;

    async Task WaitForStep(string output, int step, Process process)
    {
        while (!process.HasExited && !(File.Exists(_folder[$"{output}/metrics.jsonl"]) && LoggedSteps(_folder[$"{output}/metrics.jsonl"]).Any(logged => logged >= step)))
        {
            await Task.Delay(5, TestContext.Current.CancellationToken);
        }
    }

    static List<int> LoggedSteps(string path)
    {
        using var reader = new StreamReader(new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite));
        string text = reader.ReadToEnd();
        return [.. text[..(text.LastIndexOf('\n') + 1)].Split('\n', StringSplitOptions.RemoveEmptyEntries)
            .Select(line => JsonDocument.Parse(line).RootElement)
            .Where(entry => entry.GetProperty("kind").GetString() == "step")
            .Select(entry => entry.GetProperty("step").GetInt32())];
    }
}
