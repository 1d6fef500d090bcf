using System.Text.Json;
using OpenElm.Checkpoints;

namespace OpenElm.Distributed.Tests;

/// <summary>Preference tuning over ranks: losses, rewards and weights are those of one process, and the reference model is asked once.</summary>
public sealed class PreferenceTests : IDisposable
{
    readonly TinyRun _run = new();

    public void Dispose() => _run.Dispose();

    [Theory]
    [InlineData("none", 2, true)]
    [InlineData("gradients", 2, true)]
    [InlineData("parameters", 2, false, "trainer.activation_checkpointing=true")]
    [InlineData("optimizer", 1, false)] // one micro-batch, whose pairs the ranks share
    public async Task Losses_rewards_and_weights_are_those_of_one_process(string sharding, int accumulation, bool adapter, params string[] settings)
    {
        Ranks.Require();
        await WriteFiles(adapter);
        string[] Align(string output) =>
        [
            "align", "align.yaml", "--set", $"output={output}", "--set", $"reference_cache={output}-reference", "--set", $"distributed.sharding={sharding}", "--set", $"trainer.accumulation={accumulation}",
            .. settings.SelectMany(setting => new[] { "--set", setting }),
        ];
        await Ranks.Succeed(_run.Folder, 0, Align("one"));
        await Ranks.Succeed(_run.Folder, 2, Align("two"));

        Dictionary<string, double>[] expected = Measured("one"), actual = Measured("two");
        Assert.Equal(expected.Select(line => line.Keys), actual.Select(line => line.Keys));
        Assert.Contains("reward_margin", expected[0].Keys);
        Assert.All(expected.Zip(actual), pair => Assert.All(pair.First, value => Assert.InRange(pair.Second[value.Key], value.Value - Allowed(value.Value), value.Value + Allowed(value.Value))));
        Assert.True(expected[^1]["loss"] < 0.9 * expected[0]["loss"], "The run does not learn, so equal numbers would say little.");

        // The first rank computed the reference model's log-probabilities, and they are the same bits.
        string[] files = [.. Directory.GetFiles(_run["one-reference"]).Select(path => Path.GetFileName(path)!).Order()];
        Assert.Equal(2, files.Length); // training and held-out pairs
        Assert.Equal(files, Directory.GetFiles(_run["two-reference"]).Select(path => Path.GetFileName(path)!).Order());
        Assert.All(files, file => Assert.Equal(File.ReadAllBytes(_run[$"one-reference/{file}"]), File.ReadAllBytes(_run[$"two-reference/{file}"])));

        string weights = adapter ? "adapter_model.safetensors" : "model.safetensors";
        (string one, string two) = (LastCheckpoint("one"), LastCheckpoint("two"));
        Assert.Equal(Path.GetFileName(one), Path.GetFileName(two));
        using SafetensorsFile first = SafetensorsFile.Open(Path.Combine(one, weights)), second = SafetensorsFile.Open(Path.Combine(two, weights));
        Assert.Equal(first.Tensors.Keys.Order(), second.Tensors.Keys.Order());
        Assert.All(first.Tensors, tensor =>
        {
            float[] x = tensor.Value.ToFloats(), y = second.Tensors[tensor.Key].ToFloats();
            Assert.InRange(Math.Sqrt(x.Zip(y, (a, b) => Math.Pow(a - b, 2)).Sum()), 0, 1e-4 * Math.Sqrt(x.Sum(a => Math.Pow(a, 2))));
        });
    }

    [Fact]
    public async Task A_run_of_two_ranks_goes_on_with_one_and_the_other_way_round()
    {
        Ranks.Require();
        await WriteFiles(adapter: true);
        string[] Align(string output, params string[] more) => ["align", "align.yaml", "--set", $"output={output}", .. more];
        await Ranks.Succeed(_run.Folder, 0, Align("straight"));
        foreach ((int before, int after) in new[] { (2, 0), (0, 2) })
        {
            string output = $"from-{before}";
            await Ranks.Succeed(_run.Folder, before, Align(output, "--set", "trainer.steps=6"));
            await Ranks.Succeed(_run.Folder, after, Align(output, "--resume", "auto"));
            _run.AssertSame("straight", output);
        }
    }

    async Task WriteFiles(bool adapter)
    {
        await Ranks.Succeed(_run.Folder, 0, TinyRun.Arguments("run", "trainer.steps=20", "model.max_context_length=256", "data.sequence_length=64"));
        string[] colours = ["red", "blue", "green", "black"], things = ["sky", "sea", "cat", "moon", "king", "bread"];
        string[] pairs = [.. things.SelectMany(thing => colours.Select((colour, i) => JsonSerializer.Serialize(new
        {
            prompt = $"Is the {thing} {colour}?",
            chosen = $"Yes, {colour}.",
            rejected = string.Join(' ', Enumerable.Repeat("No,", 1 + (i % 3))) + $" {colours[(i + 1) % 4]}.",
        })))];
        File.WriteAllLines(_run["pairs.jsonl"], pairs[..19]); // the last batch is smaller than the others
        File.WriteAllLines(_run["held-out.jsonl"], pairs[19..]);
        File.WriteAllText(_run["align.yaml"], $$"""
            output: aligned
            model: run/average
            {{(adapter ? "adapter: { rules: [{ modules: \"layers.*\", rank: 4, alpha: 8, dropout: 0 }] }" : "")}}
            data: { files: [pairs.jsonl], template: zephyr, max_length: 160, max_prompt_length: 110 }
            validation: { files: [held-out.jsonl], every: 3 }
            loss: { kind: sigmoid, beta: 0.1 }
            schedule: { max_learning_rate: 0.002, min_learning_rate: 0.0005, warmup_iterations: 2, max_iterations: 9 }
            trainer: { steps: 9, micro_batch: 4, accumulation: 2, log_every: 1 }
            checkpoints: { every: 5, average_last: 0 }
            """);
    }

    // Sums in another order; rewards are differences of sums, near 0 at the beginning.
    static double Allowed(double value) => 1e-4 + (1e-4 * Math.Abs(value));

    string LastCheckpoint(string output) => Directory.GetDirectories(_run[$"{output}/checkpoints"]).Order(StringComparer.Ordinal).Last();

    // What depends on the numbers alone; times and rates do not.
    Dictionary<string, double>[] Measured(string output) =>
    [
        .. File.ReadLines(_run[$"{output}/metrics.jsonl"]).Select(line => JsonDocument.Parse(line).RootElement).Where(line => line.GetProperty("kind").GetString() is "step" or "validation")
            .Select(line => line.EnumerateObject().Where(entry => entry.Name is "step" or "loss" or "learning_rate" or "gradient_norm" or "tokens" or "tokens_seen" || entry.Name.Split('_')[0] is "preference" or "reward" or "log" or "logit")
                .ToDictionary(entry => entry.Name, entry => entry.Value.GetDouble())),
    ];
}
