using System.Text.Json;

namespace OpenElm.Cli.Tests;

public sealed class ScoreCommandTests : IDisposable
{
    static readonly string Stories = Path.Combine(RepositoryFiles.Root, "samples", "stories260k");

    static readonly JsonElement Golden = JsonDocument.Parse(File.ReadAllBytes(Path.Combine(Stories, "golden.json"))).RootElement;

    readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Log_probabilities_agree_with_the_reference()
    {
        int[] ids = [.. Golden.GetProperty("greedy_ids").EnumerateArray().Take(32).Select(id => id.GetInt32())];
        File.WriteAllText(_folder["in.jsonl"], $"{{\"tokens\": {JsonSerializer.Serialize(ids)}}}\n{{\"context\": \"Once upon\", \"continuation\": \" a time\"}}\n");
        (int code, string output, string error) = Openelm.Run("score", Stories, "--input", _folder["in.jsonl"]);
        Assert.Equal(0, code);
        string[] lines = output.TrimEnd().Split(Environment.NewLine);
        double[] logprobs = [.. JsonDocument.Parse(lines[0]).RootElement.GetProperty("logprobs").EnumerateArray().Select(value => value.GetDouble())];
        double[] expected = [.. Golden.GetProperty("next_token_logprobs").EnumerateArray().Select(value => value.GetDouble())];
        Assert.All(expected.Zip(logprobs), pair => Assert.Equal(pair.First, pair.Second, 1e-5)); // golden.json: six decimals
        JsonElement second = JsonDocument.Parse(lines[1]).RootElement;
        Assert.Equal(2, second.GetProperty("logprobs").GetArrayLength());
        Assert.True(second.GetProperty("is_greedy").GetBoolean());
        Assert.Contains("2 lines, 33 tokens scored", error);

        (code, string nothing, _) = Openelm.Run("score", Stories, "--input", _folder["in.jsonl"], "--output", _folder["out.jsonl"]);
        Assert.Equal((0, ""), (code, nothing));
        Assert.Equal(lines, File.ReadAllLines(_folder["out.jsonl"]));
        (_, string json, _) = Openelm.Run("score", Stories, "--input", _folder["in.jsonl"], "--json");
        Assert.Equal(2, JsonDocument.Parse(json).RootElement.GetArrayLength());
    }

    [Fact]
    public void A_wrong_line_is_named_and_leaves_no_file()
    {
        File.WriteAllText(_folder["in.jsonl"], "{\"text\": \"a\"}\n{\"text\": 1}\n");
        (int code, _, string error) = Openelm.Run("score", Stories, "--input", _folder["in.jsonl"], "--output", _folder["out.jsonl"]);
        Assert.Equal(2, code);
        Assert.Contains("line 2: \"text\" must be a string", error);
        Assert.Equal([_folder["in.jsonl"]], Directory.GetFiles(_folder.Path));
    }

    [Fact]
    public void Perplexity_is_printed_per_token_word_and_byte()
    {
        string text = Golden.GetProperty("expected_text").GetString()!;
        File.WriteAllText(_folder["story.txt"], text);
        (int code, string output, _) = Openelm.Run("perplexity", Stories, "--input", _folder["story.txt"], "--json");
        JsonElement document = JsonDocument.Parse(output).RootElement;
        Assert.Equal(0, code);
        Assert.Equal(200, document.GetProperty("tokens").GetInt32());
        Assert.Equal(464, document.GetProperty("bytes").GetInt32());
        double sum = document.GetProperty("log_probability").GetDouble();
        Assert.Equal(Math.Exp(-sum / 200), document.GetProperty("per_token").GetDouble(), 1e-9);
        Assert.Equal(-sum / 464 / Math.Log(2), document.GetProperty("bits_per_byte").GetDouble(), 1e-9);
        (_, string table, _) = Openelm.Run("perplexity", Stories, "--input", _folder["story.txt"], "--window", "100", "--stride", "20");
        Assert.Contains("bits per byte", table);
        (code, _, string error) = Openelm.Run("perplexity", Stories, "--input", _folder["story.txt"], "--stride", "0");
        Assert.Equal(2, code);
        Assert.Contains("stride is 0", error);
    }
}
