using System.Text.Json;
using OpenElm.Inference.Cuda;

namespace OpenElm.Cli.Tests;

public sealed class GenerateCommandTests
{
    static readonly string Stories = Path.Combine(RepositoryFiles.Root, "samples", "stories260k");

    static readonly string Expected = JsonDocument.Parse(File.ReadAllBytes(Path.Combine(Stories, "golden.json"))).RootElement.GetProperty("expected_text").GetString()!;

    [Fact]
    public void Greedy_text_goes_to_standard_output_and_speed_to_standard_error()
    {
        (int code, string output, string error) = Openelm.Run("generate", Stories, "--max-tokens", "200");
        Assert.Equal((0, Expected + Environment.NewLine), (code, output));
        Assert.Matches(@"prompt: 1 tokens, [\d.]+ tokens/s; generation: 200 tokens, [\d.]+ tokens/s; total: [\d.]+ tokens/s", error);
        Assert.Contains("--max-tokens", error);
    }

    [Fact]
    public void Without_a_gpu_the_processor_takes_over_and_one_line_says_why()
    {
        Assert.SkipWhen(CudaInferenceDevice.TryOpen(CudaPrecision.Bf16, out string? reason) is not null, "there is a GPU here");
        (int code, string output, string error) = Openelm.Run("generate", Stories, "--max-tokens", "20", "--device", "cuda");
        Assert.Equal(0, code);
        Assert.StartsWith(output.TrimEnd(), Expected);
        Assert.Single(error.Split(Environment.NewLine), line => line.EndsWith($"computing on the processor, for there is no usable GPU: {reason}", StringComparison.Ordinal));
    }

    [Fact]
    public void A_prompt_is_continued()
    {
        string prompt = Expected[..16]; // Once upon a time
        (_, string output, _) = Openelm.Run("generate", Stories, "--prompt", prompt, "-n", "20");
        Assert.StartsWith(prompt, output);
        Assert.StartsWith(output.TrimEnd(), Expected);
        (_, string alone, _) = Openelm.Run("generate", Stories, "--prompt", prompt, "-n", "20", "--no-echo");
        Assert.Equal(output, prompt + alone);
    }

    [Fact]
    public void Json_is_one_document()
    {
        (int code, string output, string error) = Openelm.Run("generate", Stories, "--prompt", "Once upon a time", "-n", "8", "--stop", "little", "--json");
        JsonElement document = JsonDocument.Parse(output).RootElement;
        Assert.Equal((0, ""), (code, error));
        Assert.Equal(", there was a ", document.GetProperty("text").GetString());
        Assert.Equal("stop_text", document.GetProperty("finish_reason").GetString());
        Assert.Equal(5, document.GetProperty("prompt_tokens").GetArrayLength());
        Assert.True(document.GetProperty("total_tokens_per_second").GetDouble() > 0);
    }

    [Fact]
    public void The_same_seed_gives_the_same_text()
    {
        string Sample(string seed) => Openelm.Run("generate", Stories, "--temperature", "1", "--top-p", "0.9", "--seed", seed, "-n", "30").Output;
        Assert.Equal(Sample("1"), Sample("1"));
        Assert.NotEqual(Sample("1"), Sample("2"));
    }

    [Fact]
    public void Speculation_changes_no_text_and_says_what_it_did()
    {
        string[] request = ["generate", Stories, "--max-tokens", "200"];
        foreach (string[] how in new string[][] { ["--prompt-lookup", "5"], ["--draft", Stories] })
        {
            (int code, string output, string error) = Openelm.Run([.. request, .. how]);
            Assert.Equal((0, Expected + Environment.NewLine), (code, output));
            Assert.Matches(@"speculation: \d+ of \d+ proposed tokens accepted", error);
        }

        JsonElement document = JsonDocument.Parse(Openelm.Run([.. request, "--draft", Stories, "--json"]).Output).RootElement;
        Assert.InRange(document.GetProperty("accepted").GetInt32(), 50, document.GetProperty("proposed").GetInt32());
    }

    [Fact]
    public void Constraints_shape_the_output()
    {
        using var folder = new TemporaryFolder();
        File.WriteAllText(folder["schema.json"], """{"type":"object","properties":{"name":{"type":"string","maxLength":9},"old":{"type":"boolean"}},"required":["name","old"]}""");
        (int code, string output, string error) = Openelm.Run("generate", Stories, "--prompt", "Once", "--no-echo", "--json-schema", folder["schema.json"]);
        Assert.Equal(0, code);
        Assert.Equal(JsonValueKind.String, JsonDocument.Parse(output).RootElement.GetProperty("name").ValueKind);
        Assert.Contains("ended by the constraint", error);
        Assert.Matches("^ [a-d]{3}[0-9]{2}\\s$", Openelm.Run("generate", Stories, "--prompt", "Once", "--no-echo", "--regex", " [a-d]{3}[0-9]{2}").Output.ReplaceLineEndings("\n"));
    }

    [Fact]
    public void One_beam_is_greedy_and_more_find_likelier_texts()
    {
        string[] request = ["generate", Stories, "--prompt", "Once upon a time", "-n", "12"];
        Assert.Equal(Openelm.Run(request).Output, Openelm.Run([.. request, "--beams", "1"]).Output);
        (int code, string json, _) = Openelm.Run([.. request, "--beams", "4", "--length-penalty", "0.5", "--json"]);
        JsonElement[] outputs = [.. JsonDocument.Parse(json).RootElement.GetProperty("outputs").EnumerateArray()];
        Assert.Equal((0, 4), (code, outputs.Length));
        Assert.StartsWith(", there was", outputs[0].GetProperty("text").GetString());
        Assert.Equal(outputs.OrderByDescending(output => output.GetProperty("score").GetDouble()), outputs);
    }

    [Fact]
    public void Penalties_biases_and_stop_tokens_reach_the_sampler()
    {
        int[] Tokens(params string[] how) => [.. JsonDocument.Parse(Openelm.Run(["generate", Stories, "-n", "60", "--json", .. how]).Output)
            .RootElement.GetProperty("tokens").EnumerateArray().Select(id => id.GetInt32())];
        int[] plain = Tokens();
        Assert.DoesNotContain(plain[0], Tokens("--logit-bias", $"{plain[0]}=-100"));
        Assert.Equal(plain[..Array.IndexOf(plain, plain[9])], Tokens("--stop-token", $"{plain[9]}"));
        Assert.NotEqual(plain, Tokens("--frequency-penalty", "1"));
        Assert.NotEqual(plain, Tokens("--presence-penalty", "5"));
        Assert.NotEqual(Tokens("--temperature", "1"), Tokens("--temperature", "1", "--typical-p", "0.2"));
    }

    [Fact]
    public void Token_ids_are_a_prompt_too()
    {
        (_, string output, _) = Openelm.Run("generate", Stories, "--prompt-tokens", "1", "403", "407", "-n", "3", "--json");
        JsonElement document = JsonDocument.Parse(output).RootElement;
        Assert.Equal([1, 403, 407], document.GetProperty("prompt_tokens").EnumerateArray().Select(id => id.GetInt32()));
        Assert.Equal([261, 378, 432], document.GetProperty("tokens").EnumerateArray().Select(id => id.GetInt32())); // golden.json: greedy_ids
    }

    [Theory]
    [InlineData("temperature is -1", "--temperature", "-1")]
    [InlineData("top_p is 0", "--top-p", "0")]
    [InlineData("max_tokens is 0", "--max-tokens", "0")]
    [InlineData("typical_p is 2", "--typical-p", "2")]
    [InlineData("ID=NUMBER", "--logit-bias", "13:4")]
    [InlineData("logit_bias names token 512", "--logit-bias", "512=4")]
    [InlineData("stop token 900", "--stop-token", "900")]
    [InlineData("prompt_lookup is -1", "--prompt-lookup", "-1")]
    [InlineData("matches no text", "--regex", "[^\\s\\S]")]
    [InlineData("one constraint", "--regex", "a", "--json-schema", "b.json")]
    [InlineData("Cannot read no.json", "--json-schema", "no.json")]
    [InlineData("beams is 0", "--beams", "0")]
    [InlineData("--draft does not go with --beams", "--beams", "2", "--draft", "x")]
    [InlineData("draws nothing", "--beams", "2", "--temperature", "1")]
    [InlineData("prompt once", "--prompt", "a", "--prompt-tokens", "1")]
    [InlineData("limit is 3", "--max-length", "3", "--prompt", "Once upon a time")]
    [InlineData("no kernels called magic", "--kernels", "magic")]
    public void Wrong_requests_exit_with_2(string message, params string[] arguments)
    {
        (int code, string output, string error) = Openelm.Run(["generate", Stories, .. arguments]);
        Assert.Equal((2, ""), (code, output));
        Assert.Contains(message, error);
    }

    [Fact]
    public void Beyond_the_trained_length_it_warns_once()
    {
        (int code, _, string error) = Openelm.Run("generate", Stories, "-n", "600", "--ignore-eos");
        Assert.Equal(0, code);
        Assert.Equal(2, error.Split("max_context_length").Length);
    }
}
