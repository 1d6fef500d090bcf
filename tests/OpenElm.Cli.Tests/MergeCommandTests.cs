using System.Text.Json;
using OpenElm.Adapters;
using OpenElm.Checkpoints;

namespace OpenElm.Cli.Tests;

/// <summary><c>merge</c>, and <c>--adapter</c> of the verbs of inference.</summary>
public sealed class MergeCommandTests : IDisposable
{
    static readonly string Stories = Path.Combine(RepositoryFiles.Root, "samples", "stories260k");

    readonly TemporaryFolder _folder = new();

    public MergeCommandTests()
    {
        using Checkpoint model = Checkpoint.Open(Stories);
        RandomAdapters.Write(_folder["lora"], RandomAdapters.Paper(rank: 3), model.Config);
        RandomAdapters.Write(_folder["dora"], new AdapterConfig { Rules = [new AdapterRule { Modules = ".*ffn", Rank = 2, Dora = true }] }, model.Config, seed: 2);
    }

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void A_merged_model_says_what_the_adapters_beside_the_model_say()
    {
        File.WriteAllText(_folder["lora/chat_template.jinja"], "{{ messages[0].content }}");
        (int code, string output, string error) = Openelm.Run("merge", Stories, _folder["lora"], _folder["dora"], "--scale", "0.5", "--scale", "1", "--output", _folder["merged"]);
        Assert.True(code == 0, error);
        Assert.Equal(_folder["merged"] + Environment.NewLine, output);
        Assert.Contains("scale 0.5", error, StringComparison.Ordinal);
        Assert.Contains("head of its own", error, StringComparison.Ordinal);
        Assert.True(File.Exists(_folder["merged/tokenizer.model"]));
        Assert.True(File.Exists(_folder["merged/chat_template.jinja"]));

        File.WriteAllText(_folder["lines.jsonl"], "{\"text\": \"Once upon a time there was a girl.\"}\n");
        double[] merged = LogProbabilities(_folder["merged"]), beside = LogProbabilities(Stories, "--adapter", _folder["lora"], "--adapter", _folder["dora"], "--adapter-scale", "0.5", "--adapter-scale", "1");
        double[] plain = LogProbabilities(Stories), one = LogProbabilities(Stories, "--adapter", _folder["lora"]);
        Assert.All(merged.Zip(beside), pair => Assert.Equal(pair.First, pair.Second, 1e-4));
        Assert.True(merged.Zip(plain).Max(pair => Math.Abs(pair.First - pair.Second)) > 0.1);
        Assert.True(merged.Zip(one).Max(pair => Math.Abs(pair.First - pair.Second)) > 0.1);
    }

    [Fact]
    public void One_document_says_what_was_merged()
    {
        (int code, string output, _) = Openelm.Run("merge", Stories, _folder["dora"], "--dtype", "bf16", "--output", _folder["merged"], "--json");
        Assert.Equal(0, code);
        JsonElement document = JsonDocument.Parse(output).RootElement;
        Assert.Equal((_folder["merged"], false), (document.GetProperty("output").GetString(), document.GetProperty("untied_head").GetBoolean()));
        Assert.Equal((_folder["dora"], 10, 1), (document.GetProperty("adapters")[0].GetProperty("path").GetString(), document.GetProperty("adapters")[0].GetProperty("modules").GetInt32(), document.GetProperty("adapters")[0].GetProperty("scale").GetDouble()));
        using Checkpoint merged = Checkpoint.Open(_folder["merged"]);
        Assert.All(merged.Weights.Values, weight => Assert.Equal(DType.BF16, weight.Parts[0].DType));

        Assert.Equal(2, Openelm.Run("merge", Stories, _folder["dora"], "--output", _folder["merged"]).Code);
        Assert.Equal(0, Openelm.Run("merge", Stories, _folder["dora"], "--output", _folder["merged"], "--overwrite").Code);
    }

    [Theory]
    [InlineData("holds no adapter", "merge", "STORIES", "STORIES", "--output", "OUT")]
    [InlineData("2 adapters and 1 scales; give --scale once for each", "merge", "STORIES", "lora", "dora", "--scale", "2", "--output", "OUT")]
    [InlineData("merged is not finite", "merge", "STORIES", "lora", "--scale", "1e41", "--output", "OUT")]
    [InlineData("There is no file", "generate", "STORIES", "--adapter", "missing")]
    [InlineData("1 adapters and 2 scales; give --adapter-scale once for each", "generate", "STORIES", "--adapter", "lora", "--adapter-scale", "1", "--adapter-scale", "2")]
    public void What_cannot_be_done_is_refused(string reason, params string[] arguments)
    {
        (int code, _, string error) = Openelm.Run([.. arguments.Select(argument => argument switch { "STORIES" => Stories, "OUT" => _folder["out"], "lora" or "dora" or "missing" => _folder[argument], _ => argument })]);
        Assert.Equal(2, code);
        Assert.Contains(reason, error, StringComparison.Ordinal);
        Assert.False(Directory.Exists(_folder["out"]));
    }

    [Fact]
    public void Chat_takes_the_adapters_template_and_evaluation_keeps_answers_apart()
    {
        File.WriteAllText(_folder["lora/chat_template.jinja"], "{{ raise_exception('the template of the adapter') }}");
        Assert.Contains("the template of the adapter", Chat("--adapter", _folder["lora"]), StringComparison.Ordinal);
        Assert.DoesNotContain("the template of the adapter", Chat(), StringComparison.Ordinal);

        Directory.CreateDirectory(_folder["data/piqa"]);
        File.WriteAllLines(_folder["data/piqa/validation.jsonl"], Enumerable.Range(0, 6).Select(i => $"{{\"goal\": \"Open box {i}\", \"sol1\": \"Use your hands.\", \"sol2\": \"Eat the box.\", \"label\": {i % 2}}}"));
        long plain = Computed(), again = Computed(), adapted = Computed("--adapter", _folder["lora"]), scaled = Computed("--adapter", _folder["lora"], "--adapter-scale", "0.5"), repeated = Computed("--adapter", _folder["lora"]);
        Assert.Equal((0, 0), (again, repeated));
        Assert.Equal((plain, plain), (adapted, scaled));

        string Chat(params string[] options)
        {
            using StringWriter output = new(), error = new();
            var context = new ConsoleContext(output, error, TimeProvider.System, CancellationToken.None) { Input = new StringReader("Hello\n") };
            Program.Run(["chat", Stories, "--max-tokens", "3", .. options], context);
            return error.ToString();
        }

        long Computed(params string[] options) => JsonDocument.Parse(Openelm.Run(["evaluate", Stories, "--tasks", "piqa", "--data", _folder["data"], "--cache", _folder["answers"], "--json", .. options]).Output)
            .RootElement.GetProperty("cost").GetProperty("tokens_computed").GetInt64();
    }

    double[] LogProbabilities(string model, params string[] options)
    {
        (int code, string output, string error) = Openelm.Run(["score", model, "--input", _folder["lines.jsonl"], .. options]);
        Assert.True(code == 0, error);
        return [.. JsonDocument.Parse(output).RootElement.GetProperty("logprobs").EnumerateArray().Select(value => value.GetDouble())];
    }
}
