using System.Text.Json;

namespace OpenElm.Cli.Tests;

public sealed class DataCommandTests : IDisposable
{
    const string Words = "the quick brown fox jumps over the lazy dog and the lazy dog sleeps on";

    readonly string _folder = Directory.CreateTempSubdirectory("openelm-cli-data-").FullName;
    readonly string _config;

    public DataCommandTests()
    {
        _config = Path.Combine(_folder, "run.yaml");
        File.WriteAllText(Path.Combine(_folder, "a.jsonl"), string.Concat(Enumerable.Range(0, 50).Select(i =>
            JsonSerializer.Serialize(new { text = string.Concat(Enumerable.Repeat($"{Words} {i}. ", 1 + (i % 7))) }) + "\n")));
        File.WriteAllText(_config, $$"""
            output: {{_folder}}/run
            model:
              num_transformer_layers: 2
              model_dim: 64
              head_dim: 16
              vocab_size: 384
            tokenizer:
              train:
                vocab_size: 330
            data:
              sequence_length: 64
              workers: 2
              sources:
                - { file_name: "{{_folder}}/a.jsonl" }
            schedule:
              max_learning_rate: 0.01
              min_learning_rate: 0.001
              warmup_iterations: 1
            trainer:
              steps: 4
            """);
    }

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void Inspect_reports_both_modes_and_writes_nothing()
    {
        (int code, string output, string error) = Openelm.Run("data", "inspect", _config, "--json", "--samples", "2");
        Assert.True(code == 0, error);
        JsonElement report = JsonDocument.Parse(output).RootElement;
        Assert.Equal(50, report.GetProperty("sources")[0].GetProperty("documents").GetInt64());
        JsonElement[] modes = [.. report.GetProperty("modes").EnumerateArray()];
        Assert.Equal(["faithful", "packing"], modes.Select(mode => mode.GetProperty("mode").GetString()));
        Assert.Equal(50, modes[0].GetProperty("sequences").GetInt64());
        Assert.True(modes[0].GetProperty("dropped_share").GetDouble() > 0);
        Assert.True(modes[0].GetProperty("padded_share").GetDouble() > 0);
        Assert.Equal(0, modes[1].GetProperty("dropped_share").GetDouble());
        Assert.Equal(2, report.GetProperty("samples").GetArrayLength());
        Assert.False(Directory.Exists(Path.Combine(_folder, "run")));
    }

    [Fact]
    public void Inspect_prints_tables_and_samples()
    {
        (int code, string output, string error) = Openelm.Run("data", "inspect", _config, "--set", "data.mode=packing");
        Assert.True(code == 0, error);
        Assert.Contains("a.jsonl", output);
        Assert.Matches(@"packing +50 .* 100\.0 % +0\.0 % +0\.0 %", output);
        Assert.Contains("line 1, 64 tokens:", output);
        Assert.Contains(Words, output);
        Assert.Contains("Training a tokenizer of 330 pieces", error);
    }

    [Fact]
    public void Prepare_writes_a_folder_and_the_tokenizer_that_made_it()
    {
        string folder = Path.Combine(_folder, "tokens");
        (int code, string output, string error) = Openelm.Run("data", "prepare", _config, "--output", folder, "--json");
        Assert.True(code == 0, error);
        JsonElement report = JsonDocument.Parse(output).RootElement;
        Assert.Equal((1, 50), (report.GetProperty("files").GetInt32(), report.GetProperty("documents").GetInt64()));
        Assert.True(File.Exists(Path.Combine(folder, "manifest.json")));
        Assert.True(File.Exists(Path.Combine(_folder, "run", "tokenizer.model")));

        (code, _, error) = Openelm.Run("data", "prepare", _config, "--output", folder);
        Assert.Equal(2, code);
        Assert.Contains("exists and is not empty", error);
        Assert.Equal(0, Openelm.Run("data", "prepare", _config, "--output", folder, "--overwrite").Code);
    }

    [Theory]
    [InlineData("--samples is -1", "inspect", "--samples", "-1")]
    [InlineData("--piece-size is 0", "prepare", "--output", "x", "--piece-size", "0")]
    [InlineData("data.shards is 0; it must be at least 1", "inspect", "--set", "data.shards=0")]
    [InlineData("data.sources.0.file_name 'a.csv' has an ending that is not known", "inspect", "--set", "data.sources=[{file_name: a.csv}]")]
    [InlineData("there is no file", "inspect", "--set", "data.sources=[{file_name: nowhere.jsonl}]")]
    [InlineData("Cannot read the tokenizer", "inspect", "--tokenizer", "nowhere.model")]
    public void Wrong_input_is_explained(string expected, string verb, params string[] options)
    {
        (int code, _, string error) = Openelm.Run(["data", verb, _config, .. options]);
        Assert.Equal(2, code);
        Assert.Contains(expected, error);
    }
}
