using System.Text.Json;

namespace OpenElm.Distributed.Tests;

/// <summary>A tiny model with layers of different widths on a tiny corpus, texts padded to different lengths; 16 sequences an update.</summary>
public sealed class TinyRun : IDisposable
{
    public const int Steps = 50;

    readonly TemporaryFolder _folder = new();

    public TinyRun()
    {
        var random = new Random(1);
        string[] subjects = ["the cat", "a dog", "my sister", "the old king"], verbs = ["sees", "likes", "follows"], objects = ["the moon", "a river", "bread and salt"];
        string Sentence() => $"{subjects[random.Next(4)]} {verbs[random.Next(3)]} {objects[random.Next(3)]}.";
        string Line() => JsonSerializer.Serialize(new { text = string.Join(' ', Enumerable.Range(0, random.Next(2, 30)).Select(_ => Sentence())) });
        foreach (string name in new[] { "first", "second", "third" })
        {
            File.WriteAllLines(_folder[$"{name}.jsonl"], Enumerable.Range(0, 60).Select(_ => Line()));
        }

        File.WriteAllLines(_folder["validation.jsonl"], Enumerable.Range(0, 9).Select(_ => Line()));
        File.WriteAllText(_folder["run.yaml"], $$"""
            output: run
            seed: 1
            model: { num_transformer_layers: 3, model_dim: 36, head_dim: 6, qkv_multipliers: [0.5, 1.0], num_gqa_groups: 2, ffn_multipliers: [0.5, 3.0], ffn_dim_divisor: 7,
                     normalize_qk_projections: true, share_input_output_layers: true, vocab_size: 320, max_context_length: 64 }
            tokenizer: { train: { vocab_size: 300 } }
            data: { mode: faithful, sequence_length: 48, shards: 3, sources: [{ file_name: first.jsonl }, { file_name: second.jsonl }, { file_name: third.jsonl }] }
            validation: { every: 25, sources: [{ file_name: validation.jsonl }] }
            loss: { z_loss: 1.0e-4 }
            schedule: { max_learning_rate: 0.005, min_learning_rate: 0.001, warmup_iterations: 10, max_iterations: {{Steps}} }
            trainer: { steps: {{Steps}}, micro_batch: 4, accumulation: 4, accumulation_reduction: token_mean, ema_momentum: 0.05, log_every: 1 }
            checkpoints: { every: 10, keep_last: 3, average_last: 2 }
            """);
    }

    public string Folder => _folder.Path;

    public string this[string name] => _folder[name];

    public void Dispose() => _folder.Dispose();

    /// <summary>The arguments of a run.</summary>
    public static string[] Arguments(string output, params string[] settings) =>
        ["pretrain", "run.yaml", "--set", $"output={output}", .. settings.SelectMany(setting => setting.StartsWith("--", StringComparison.Ordinal) ? [setting] : new[] { "--set", setting })];

    /// <summary>What a run logged of its updates and validations.</summary>
    public IReadOnlyList<(string Kind, int Step, double Loss, double? Norm, long Tokens)> Log(string output) =>
    [
        .. File.ReadLines(this[$"{output}/metrics.jsonl"]).Select(line => JsonDocument.Parse(line).RootElement)
            .Where(line => line.GetProperty("kind").GetString() is "step" or "validation")
            .Select(line => (line.GetProperty("kind").GetString()!, line.GetProperty("step").GetInt32(), line.GetProperty("loss").GetDouble(),
                line.TryGetProperty("gradient_norm", out JsonElement norm) ? norm.GetDouble() : (double?)null,
                (line.TryGetProperty("tokens_seen", out JsonElement seen) ? seen : line.GetProperty("tokens")).GetInt64())),
    ];

    /// <summary>Asserts that two runs are the same one, as far as sums in another order can be.</summary>
    public void AssertSame(string expected, string actual)
    {
        var (one, other) = (Log(expected), Log(actual));
        Assert.Equal(one.Select(line => (line.Kind, line.Step, line.Tokens)), other.Select(line => (line.Kind, line.Step, line.Tokens)));
        Assert.All(one.Zip(other), pair =>
        {
            Assert.InRange(pair.Second.Loss, pair.First.Loss * (1 - 1e-5), pair.First.Loss * (1 + 1e-5));
            Assert.InRange(pair.Second.Norm ?? 0, (pair.First.Norm ?? 0) * (1 - 1e-4), (pair.First.Norm ?? 0) * (1 + 1e-4));
        });
    }
}
