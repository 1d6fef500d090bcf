using System.Text.Json;

namespace OpenElm.Distributed.Tests;

/// <summary>The other verbs over ranks: tuning gives the same losses, evaluation and preparation the same bits.</summary>
public sealed class SharedWorkTests : IDisposable
{
    readonly TinyRun _run = new();

    public void Dispose() => _run.Dispose();

    [Fact]
    public async Task Prepared_data_are_the_same_bytes()
    {
        Ranks.Require();
        await Ranks.Succeed(_run.Folder, 0, ["data", "prepare", "run.yaml", "--output", "one"]);
        await Ranks.Succeed(_run.Folder, 2, ["data", "prepare", "run.yaml", "--output", "two"]);
        string[] files = [.. Directory.GetFiles(_run["one"]).Select(path => Path.GetFileName(path)!).Order()];
        Assert.Equal(files, Directory.GetFiles(_run["two"]).Select(path => Path.GetFileName(path)!).Order());
        Assert.All(files, file => Assert.Equal(File.ReadAllBytes(_run[$"one/{file}"]), File.ReadAllBytes(_run[$"two/{file}"])));
    }

    [Fact]
    public async Task Evaluation_gives_the_same_bits()
    {
        Ranks.Require();
        await Ranks.Succeed(_run.Folder, 0, TinyRun.Arguments("run", "trainer.steps=20"));
        var random = new Random(2);
        File.WriteAllLines(_run["questions.jsonl"], Enumerable.Range(0, 40).Select(i => JsonSerializer.Serialize(new
        {
            query = $"the cat {(i % 2 == 0 ? "sees" : "likes")} {i}",
            choices = new[] { "the moon", "a river", $"bread {random.Next(9)}" },
            gold = random.Next(3),
        })));
        File.WriteAllText(_run["task.yaml"], """
            task: animals
            files: { test: [questions.jsonl] }
            test_split: test
            prompt: "{{ query }}"
            choices: "{{ choices }}"
            target: "{{ gold }}"
            metrics: [acc]
            source: made for this test
            licence: none
            """);
        string[] Evaluate(string output) => ["evaluate", "run/average", "--tasks", "task.yaml", "--data", ".", "--output", output, "--max-length", "48"];
        await Ranks.Succeed(_run.Folder, 0, Evaluate("one"));
        await Ranks.Succeed(_run.Folder, 2, Evaluate("two"));
        string[] samples = [.. Directory.GetFiles(_run["one"], "*.jsonl", SearchOption.AllDirectories)];
        Assert.NotEmpty(samples);
        Assert.All(samples, file => Assert.Equal(File.ReadAllText(file), File.ReadAllText(file.Replace("/one/", "/two/", StringComparison.Ordinal))));
    }

    [Theory]
    [InlineData("finetune", "none")]
    [InlineData("finetune", "gradients")]
    public async Task Tuning_with_adapters_gives_the_same_losses(string verb, string sharding)
    {
        Ranks.Require();
        await Ranks.Succeed(_run.Folder, 0, TinyRun.Arguments("run", "trainer.steps=20", "model.max_context_length=256"));
        var random = new Random(3);
        File.WriteAllLines(_run["records.jsonl"], Enumerable.Range(0, 50).Select(i => JsonSerializer.Serialize(new { instruction = $"who sees {random.Next(20)}?", input = "", output = $"the cat {i % 7}" })));
        File.WriteAllText(_run["tune.yaml"], """
            output: tuned
            model: run/average
            adapter: { rules: [{ modules: "layers.*", rank: 4, alpha: 8, dropout: 0.1 }] }
            data: { files: [records.jsonl], epochs: 2 }
            schedule: { max_learning_rate: 0.005, min_learning_rate: 0.001, warmup_iterations: 2 }
            trainer: { micro_batch: 4, accumulation: 2, accumulation_reduction: token_mean, log_every: 1 }
            checkpoints: { every: 10, average_last: 0 }
            """);
        string[] Tune(string output) => [verb, "tune.yaml", "--set", $"output={output}", "--set", $"distributed.sharding={sharding}"];
        await Ranks.Succeed(_run.Folder, 0, Tune("one"));
        await Ranks.Succeed(_run.Folder, 2, Tune("two"));
        _run.AssertSame("one", "two");
    }
}
