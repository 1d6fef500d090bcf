using System.Diagnostics;
using System.Text.Json;

namespace OpenElm.Run.Tests;

/// <summary>The published program: small, quick to start, and the same as the one that is compiled as it runs.</summary>
[Trait("Category", "Slow")]
public sealed class PublishedProgramTests
{
    const string Stories = "samples/stories260k";

    [Fact]
    public void It_is_one_small_file_made_without_a_warning()
    {
        PublishedProgram program = RunPrograms.Published;
        Assert.Equal(program.Path, Assert.Single(Directory.GetFiles(program.Folder, "*", SearchOption.AllDirectories)));
        Assert.InRange(new FileInfo(program.Path).Length, 1, 25_000_000);
        Assert.DoesNotContain("warning", program.Log, StringComparison.OrdinalIgnoreCase);
    }

    [Fact]
    public void It_starts_in_under_100_ms()
    {
        PublishedProgram program = RunPrograms.Published;
        var watch = new Stopwatch();
        double best = double.PositiveInfinity; // the best of some: others may be using the machine
        for (int i = 0; i < 20; i++)
        {
            watch.Restart();
            Assert.Equal(0, program.Run("--version").Code);
            best = Math.Min(best, watch.Elapsed.TotalMilliseconds);
        }

        Assert.InRange(best, 0, 100);
    }

    [Theory]
    [InlineData("generate", "--help")]
    [InlineData("generate", Stories, "--prompt", "Once upon a time", "--max-tokens", "100")]
    [InlineData("generate", Stories, "--prompt", "The cat", "--temperature", "0.8", "--top-p", "0.9", "--seed", "3", "--max-tokens", "50")]
    [InlineData("generate", Stories, "--prompt", "Tom", "--regex", "( [a-z]+)+[.]", "--max-tokens", "40")]
    [InlineData("generate", Stories, "--prompt", "Once", "--beams", "3", "--max-tokens", "20")]
    [InlineData("info", "openelm-270m")]
    [InlineData("info", "openelm-270m", "--json")]
    [InlineData("info", Stories, "--json")]
    [InlineData("generate", "no-such-model")]
    [InlineData("generate", Stories, "--top-p", "2")]
    [InlineData("sing")]
    [InlineData("generate", Stories, "--max-tokens", "many")]
    public void It_prints_what_the_program_prints_that_is_compiled_as_it_runs(params string[] args)
    {
        (int code, string output, string error) = RunPrograms.Published.Run(args);
        (int expectedCode, string expectedOutput, string expectedError) = RunPrograms.RunJitted(args);
        Assert.Equal((expectedCode, expectedOutput), (code, output));
        Assert.Equal(expectedCode == 0 ? "" : expectedError, code == 0 ? "" : error); // else it is a log with times and rates
    }

    [Fact]
    public void It_scores_as_the_other_does()
    {
        using var folder = new TemporaryFolder();
        File.WriteAllLines(folder["lines.jsonl"], ["{\"text\": \"Once upon a time there was a cat.\"}", "{\"context\": \"The sun\", \"continuation\": \" was warm\"}"]);
        string[] args = ["score", Stories, "--input", folder["lines.jsonl"], "--json"];
        double[] scores = [.. Numbers(RunPrograms.Published.Run(args).Output)], expected = [.. Numbers(RunPrograms.RunJitted(args).Output)];
        Assert.Equal(expected.Length, scores.Length);
        Assert.All(scores.Zip(expected), pair => Assert.Equal(pair.Second, pair.First, 1e-4)); // fp32; vectors may have another width

        static IEnumerable<double> Numbers(string json) => JsonDocument.Parse(json).RootElement.EnumerateArray()
            .SelectMany(line => line.GetProperty("logprobs").EnumerateArray().Select(value => value.GetDouble()).Append(line.GetProperty("sum").GetDouble()));
    }

    [Fact]
    public void It_measures()
    {
        (int code, string output, string error) = RunPrograms.Published.Run("bench", Stories, "--prompt", "16", "--generate", "8", "--repetitions", "2", "--json");
        Assert.True(code == 0, error);
        JsonElement[] tests = [.. JsonDocument.Parse(output).RootElement.GetProperty("tests").EnumerateArray()];
        Assert.Equal(["pp16", "tg8"], tests.Select(test => test.GetProperty("test").GetString()));
        Assert.All(tests, test => Assert.InRange(test.GetProperty("median").GetDouble(), 1, 1e9));
    }

    [Fact]
    public void It_has_the_kernels_of_this_processor()
    {
        string[] kernels = Kernels(RunPrograms.Published.Run("info", "--json").Output), expected = Kernels(RunPrograms.RunJitted("info", "--json").Output);
        // .NET's AVX-512 is all or nothing ahead of time (OpenElm.Run.csproj); the assembled kernels are there all the same.
        Assert.Equal(expected.Where(name => name != "avx512"), kernels);

        static string[] Kernels(string json) => [.. JsonDocument.Parse(json).RootElement.GetProperty("kernels").EnumerateArray().Select(name => name.GetString()!)];
    }

    [Fact]
    public void It_talks()
    {
        PublishedProgram program = RunPrograms.Published;
        var start = new ProcessStartInfo(program.Path, ["chat", Path.Combine(RepositoryFiles.Root, Stories), "--max-tokens", "5", "--json"])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        using var process = Process.Start(start)!;
        process.StandardInput.WriteLine("Hello");
        process.StandardInput.Close();
        JsonElement document = JsonDocument.Parse(process.StandardOutput.ReadToEnd()).RootElement;
        Assert.Equal(5, Assert.Single(document.GetProperty("turns").EnumerateArray()).GetProperty("generated_tokens").GetInt32());
    }
}
