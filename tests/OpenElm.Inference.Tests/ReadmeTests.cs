using System.Text.RegularExpressions;

namespace OpenElm.Inference.Tests;

/// <summary>The README's example is compiled with the tests, and run. It owns the console and the current folder, so it runs alone.</summary>
[Collection(nameof(ReadmeTests))]
[CollectionDefinition(nameof(ReadmeTests), DisableParallelization = true)]
public sealed class ReadmeTests
{
    [Fact]
    public void The_example_is_the_code_that_is_tested()
    {
        string readme = File.ReadAllText(Path.Combine(RepositoryFiles.Root, "README.md")).ReplaceLineEndings("\n");
        string source = File.ReadAllText(Path.Combine(RepositoryFiles.Root, "tests", "OpenElm.Inference.Tests", "ReadmeExample.cs")).ReplaceLineEndings("\n");
        string usings = string.Concat(source.Split('\n').TakeWhile(line => line.StartsWith("using", StringComparison.Ordinal)).Select(line => line + "\n"));
        string body = Regex.Match(source, "// begin\n(.*?) *// end", RegexOptions.Singleline).Groups[1].Value;
        string example = "using OpenElm.Inference;\n" + usings + "\n" + Regex.Replace(body, "^ {8}", "", RegexOptions.Multiline);
        Assert.Contains("```csharp\n" + example + "```", readme);
    }

    [Fact]
    public void The_example_runs()
    {
        (TextWriter console, string folder) = (Console.Out, Environment.CurrentDirectory);
        using var output = new StringWriter();
        try
        {
            Console.SetOut(output);
            Environment.CurrentDirectory = RepositoryFiles.Root;
            ReadmeExample.Run();
        }
        finally
        {
            Console.SetOut(console);
            Environment.CurrentDirectory = folder;
        }

        Assert.Matches(@"^, there was a little girl[\s\S]+ (Tom|Lily|Ben) is [1-9][0-9]? years old\.\s+\d+ tokens, \d+ a second, Complete\s+$", output.ToString());
    }
}
