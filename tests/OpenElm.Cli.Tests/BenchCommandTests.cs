using System.Text.Json;

namespace OpenElm.Cli.Tests;

/// <summary>What bench prints, not how fast: a timed test proves nothing.</summary>
public sealed class BenchCommandTests
{
    static readonly string Stories = Path.Combine(RepositoryFiles.Root, "samples", "stories260k");

    [Fact]
    public void Training_is_measured_on_random_weights_and_tokens()
    {
        (int code, string output, string error) = Openelm.Run("bench", "train", "--size", "gpt-test", "--vocab", "500", "--precision", "fp32", "--micro-batch", "2",
            "--sequence-length", "32", "--warmup", "1", "--steps", "2", "--windows", "3", "--json");
        Assert.True(code == 0, error);
        using JsonDocument document = JsonDocument.Parse(output);
        Assert.Equal(3, document.RootElement.GetProperty("windows").GetArrayLength());
        Assert.Equal((500, 2, 32), (Number("vocab"), Number("micro_batch"), Number("sequence_length")));
        Assert.NotEqual("", document.RootElement.GetProperty("processor").GetString());
        Assert.All(document.RootElement.GetProperty("windows").EnumerateArray(), rate => Assert.True(rate.GetDouble() > 0));
        Assert.Equal(Math.Log(500) + 0.5, document.RootElement.GetProperty("first_loss").GetDouble(), 0.5); // random logits have a variance of 1

        int Number(string name) => document.RootElement.GetProperty(name).GetInt32();
    }

    [Fact]
    public void It_measures_both_tests_and_allocates_nothing_per_token()
    {
        (int code, string output, string error) = Openelm.Run("bench", Stories, "--prompt", "40", "--generate", "20", "--repetitions", "3", "--threads", "1", "--json");
        Assert.True(code == 0, error);
        JsonElement document = JsonDocument.Parse(output).RootElement;
        Assert.True(document.GetProperty("read_bytes_per_second").GetDouble() > 0);
        JsonElement[] tests = [.. document.GetProperty("tests").EnumerateArray()];
        Assert.Equal(["pp40", "tg20"], tests.Select(test => test.GetProperty("test").GetString()));
        Assert.All(tests, test =>
        {
            double[] rates = [.. test.GetProperty("tokens_per_second").EnumerateArray().Select(rate => rate.GetDouble())];
            Assert.Equal(3, rates.Length);
            Assert.Equal(rates.Order().ElementAt(1), test.GetProperty("median").GetDouble());
            Assert.Equal(0, test.GetProperty("allocated_bytes_per_token").GetDouble());
        });
        Assert.Equal(document.GetProperty("weight_bytes").GetDouble() * tests[1].GetProperty("median").GetDouble(), tests[1].GetProperty("bytes_per_second").GetDouble(), 1e-3);
    }

    [Fact]
    public void Several_sequences_and_speculation_are_tests_of_their_own()
    {
        (int code, string output, string error) = Openelm.Run("bench", Stories, "--prompt", "0", "--generate", "30", "--sequences", "3", "--repetitions", "2", "--prompt-lookup", "5");
        Assert.True(code == 0, error);
        Assert.StartsWith("tg30x3 ", output);
        Assert.Matches(@"\nrepetitive +[0-9.]+x with proposals: .* [1-9]\d* of \d+ proposals accepted, the same tokens", output);
        Assert.Contains("\nfree ", output);
    }

    [Theory]
    [InlineData("both tests have 0 tokens", "--prompt", "0", "--generate", "0")]
    [InlineData("the longest sequence", "--prompt", "100000")]
    [InlineData("0 repetitions", "--repetitions", "0")]
    [InlineData("0 sequences", "--sequences", "0")]
    [InlineData("no kernels called", "--kernels", "magic")]
    public void Wrong_requests_exit_with_2(string message, params string[] arguments)
    {
        (int code, _, string error) = Openelm.Run(["bench", Stories, .. arguments]);
        Assert.Equal(2, code);
        Assert.Contains(message, error);
    }
}
