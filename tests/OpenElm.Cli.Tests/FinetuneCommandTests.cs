using System.Text.Json;

namespace OpenElm.Cli.Tests;

public sealed class FinetuneCommandTests : IDisposable
{
    readonly TemporaryFolder _folder = new();

    public FinetuneCommandTests()
    {
        string[] rows = [.. Enumerable.Range(0, 24).Select(i => JsonSerializer.Serialize(new { instruction = $"Say {i % 6}.", output = $"It is {i % 6}." }))];
        File.WriteAllLines(_folder["train.jsonl"], rows);
        TinyChatModel.Write(_folder["model"], rows);
        File.WriteAllText(_folder["run.yaml"], $$"""
            output: {{_folder["run"]}}
            model: {{_folder["model"]}}
            data: { files: [{{_folder["train.jsonl"]}}], template: zephyr, loss_on: responses, batching: packing, epochs: 2 }
            schedule: { max_learning_rate: 0.01, min_learning_rate: 0, warmup_ratio: 0.1 }
            trainer: { micro_batch: 2, log_every: 1 }
            checkpoints: { every: 100, average_last: 0 }
            samples: { prompts: ["Say 3."], max_tokens: 4, temperature: 0 }
            """);
    }

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Tunes_a_model_that_generate_and_chat_load()
    {
        (int code, string output, string error) = Openelm.Run("finetune", _folder["run.yaml"], "--json");
        Assert.True(code == 0, error);
        using JsonDocument result = JsonDocument.Parse(output);
        string model = result.RootElement.GetProperty("model").GetString()!;
        Assert.True(result.RootElement.GetProperty("samples").GetArrayLength() == 1 && File.Exists(_folder["run/report.html"]));

        Assert.Equal(0, Openelm.Run("generate", model, "--prompt", "Say 3.", "--max-tokens", "3").Code);
        Assert.Contains("zephyr", ChatTemplateName(model), StringComparison.Ordinal);
        Assert.Equal(2, Openelm.Run("finetune", _folder["run.yaml"]).Code); // holds a run already
        (code, _, error) = Openelm.Run("finetune", _folder["run.yaml"], "--overwrite", "--set", "trainer.steps=2", "--set", "data.epochs=0");
        Assert.True(code == 0, error);
    }

    [Fact]
    public void The_plan_is_printed_and_nothing_is_written()
    {
        (int code, string output, _) = Openelm.Run("finetune", _folder["run.yaml"], "--plan", "--json");
        Assert.Equal(0, code);
        using JsonDocument plan = JsonDocument.Parse(output);
        Assert.Equal(96 * 2, plan.RootElement.GetProperty("plan").GetProperty("tokens_per_step").GetInt32());
        Assert.False(Directory.Exists(_folder["run"]));
    }

    [Fact]
    public void A_bad_record_is_named_with_its_file_and_number()
    {
        File.AppendAllText(_folder["train.jsonl"], """{"instruction": "Say 7.", "output": ""}""" + "\n");
        (int code, _, string error) = Openelm.Run("finetune", _folder["run.yaml"]);
        Assert.Equal(2, code);
        Assert.Contains("train.jsonl row 25 has an empty 'output'", error, StringComparison.Ordinal);
    }

    static string ChatTemplateName(string model) => Chat.ChatTemplate.OfFolder(model) is { } template && template.Source == Chat.ChatTemplate.Zephyr.Source ? "zephyr" : "another";
}
