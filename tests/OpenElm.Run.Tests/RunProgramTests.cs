namespace OpenElm.Run.Tests;

/// <summary>The program as it is built with the tests: its verbs, and its own name wherever it speaks of itself.</summary>
public sealed class RunProgramTests
{
    [Fact]
    public void It_has_the_verbs_of_inference_and_no_others()
    {
        (int code, string output, string error) = RunPrograms.RunJitted("--help");
        Assert.Equal((0, ""), (code, error));
        string[] verbs = [.. output[output.IndexOf("Commands:", StringComparison.Ordinal)..].Split('\n').Skip(1)
            .TakeWhile(line => line.StartsWith("  ", StringComparison.Ordinal)).Select(line => line.Trim().Split(' ')[0])];
        Assert.Equal(["generate", "chat", "score", "perplexity", "bench", "info"], verbs);
    }

    [Fact]
    public void Its_version_and_its_examples_have_its_name()
    {
        Assert.StartsWith("openelm-run 0.", RunPrograms.RunJitted("--version").Output, StringComparison.Ordinal);
        string help = RunPrograms.RunJitted("generate", "--help").Output;
        Assert.Contains("  openelm-run generate models/books-46m --prompt", help, StringComparison.Ordinal);
        Assert.DoesNotContain("openelm ", help, StringComparison.Ordinal);
    }

    [Fact]
    public void What_the_user_can_fix_is_one_message_and_code_2()
    {
        (int code, string output, string error) = RunPrograms.RunJitted("generate", "no-such-model");
        Assert.Equal((2, ""), (code, output));
        Assert.StartsWith("openelm-run: ", error, StringComparison.Ordinal);
        Assert.Contains("no-such-model", error, StringComparison.Ordinal);
        Assert.Contains("Try 'openelm-run --help'.", RunPrograms.RunJitted("pretrain").Error, StringComparison.Ordinal);
    }
}
