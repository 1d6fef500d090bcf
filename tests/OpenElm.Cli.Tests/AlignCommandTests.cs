using System.Text.Json;

namespace OpenElm.Cli.Tests;

public sealed class AlignCommandTests : IDisposable
{
    readonly TemporaryFolder _folder = new();

    public AlignCommandTests()
    {
        string[] rows = [.. Enumerable.Range(0, 24).Select(i => JsonSerializer.Serialize(new { instruction = $"Say {i % 6}.", chosen = $"It is {i % 6}.", rejected = "No." }))];
        File.WriteAllLines(_folder["train.jsonl"], rows);
        TinyChatModel.Write(_folder["model"], rows);
        File.WriteAllText(_folder["run.yaml"], $$"""
            output: {{_folder["run"]}}
            model: {{_folder["model"]}}
            data: { files: [{{_folder["train.jsonl"]}}], template: zephyr, max_length: 96, max_prompt_length: 48, epochs: 2 }
            validation: { files: [{{_folder["train.jsonl"]}}], every: 12 }
            schedule: { max_learning_rate: 0.01, min_learning_rate: 0, warmup_ratio: 0.1 }
            trainer: { micro_batch: 2, log_every: 1 }
            checkpoints: { every: 100, average_last: 0 }
            samples: { prompts: ["Say 3."], max_tokens: 4, temperature: 0 }
            """);
    }

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Tunes_a_model_and_says_how_often_the_chosen_response_wins()
    {
        (int code, string output, string error) = Openelm.Run("align", _folder["run.yaml"], "--json");
        Assert.True(code == 0, error);
        Assert.Contains("The reference model scores 24 training pairs", error, StringComparison.Ordinal);
        Assert.Contains("loss 0.6931  reward accuracy 0.0000  reward margin 0.0000", error, StringComparison.Ordinal);
        using JsonDocument result = JsonDocument.Parse(output);
        JsonElement accuracy = result.RootElement.GetProperty("reward_accuracy");
        Assert.Equal(24, accuracy.GetProperty("count").GetInt32());
        Assert.True(accuracy.GetProperty("low").GetDouble() > 0.5, output);
        string model = result.RootElement.GetProperty("model").GetString()!;
        Assert.True(result.RootElement.GetProperty("samples").GetArrayLength() == 1 && File.Exists(_folder["run/report.html"]));
        Assert.Equal(0, Openelm.Run("generate", model, "--prompt", "Say 3.", "--max-tokens", "3").Code);
        Assert.Equal(2, Openelm.Run("align", _folder["run.yaml"]).Code); // holds a run already

        (code, output, error) = Openelm.Run("align", _folder["run.yaml"], "--overwrite", "--set", "loss.kind=hinge", "--set", "trainer.steps=2", "--set", "data.epochs=0");
        Assert.True(code == 0, error);
        Assert.Contains("are known from", error, StringComparison.Ordinal);
        Assert.Contains("reward accuracy", output, StringComparison.Ordinal);
        Assert.Contains("of 24 (95 % interval", output, StringComparison.Ordinal);
    }

    [Fact]
    public void The_plan_is_printed_and_nothing_is_written()
    {
        (int code, string output, _) = Openelm.Run("align", _folder["run.yaml"], "--plan");
        Assert.Equal(0, code);
        Assert.Contains("memory in all", output, StringComparison.Ordinal);
        Assert.False(Directory.Exists(_folder["run"]));
    }

    [Fact]
    public void A_bad_record_is_named_with_its_file_and_number()
    {
        File.AppendAllText(_folder["train.jsonl"], """{"instruction": "Say 7.", "chosen": "It is 7."}""" + "\n");
        (int code, _, string error) = Openelm.Run("align", _folder["run.yaml"]);
        Assert.Equal(2, code);
        Assert.Contains("train.jsonl row 25", error, StringComparison.Ordinal);
        Assert.Contains("rejected", error, StringComparison.Ordinal);
    }
}
