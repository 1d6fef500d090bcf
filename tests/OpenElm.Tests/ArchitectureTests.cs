using System.Xml.Linq;

namespace OpenElm.Tests;

/// <summary>Dependencies point one way (docs/architecture.md): a project may reference only what its row names.</summary>
public sealed class ArchitectureTests
{
    static readonly Dictionary<string, string[]> Allowed = new()
    {
        ["OpenElm"] = [],
        ["OpenElm.Data"] = ["OpenElm"],
        ["OpenElm.Inference"] = ["OpenElm"],
        ["OpenElm.Cuda"] = [],
        ["OpenElm.Distributed"] = ["OpenElm"],
        ["OpenElm.Inference.Cuda"] = ["OpenElm.Cuda", "OpenElm.Inference"],
        ["OpenElm.Yaml"] = ["OpenElm"],
        ["OpenElm.Evaluation"] = ["OpenElm", "OpenElm.Yaml", "OpenElm.Data", "OpenElm.Inference"],
        ["OpenElm.Training"] = ["OpenElm", "OpenElm.Yaml", "OpenElm.Data", "OpenElm.Cuda"],
        ["OpenElm.Verification"] = ["OpenElm", "OpenElm.Training", "OpenElm.Inference"],
        ["OpenElm.Commands"] = ["OpenElm", "OpenElm.Inference", "OpenElm.Inference.Cuda"],
        ["OpenElm.Cli"] = ["OpenElm", "OpenElm.Data", "OpenElm.Distributed", "OpenElm.Training", "OpenElm.Inference", "OpenElm.Inference.Cuda", "OpenElm.Evaluation", "OpenElm.Verification", "OpenElm.Commands"],
        ["OpenElm.Run"] = ["OpenElm.Commands"],
    };

    // Packages that must not spread: the reason for the project border.
    static readonly Dictionary<string, string[]> OnlyIn = new()
    {
        ["TorchSharp"] = ["OpenElm.Training"],
        ["Parquet.Net"] = ["OpenElm.Data"],
        ["ZstdSharp.Port"] = ["OpenElm.Data"],
        ["YamlDotNet"] = ["OpenElm.Yaml"],
        ["OxyPlot.Core"] = ["OpenElm.Training", "OpenElm.Evaluation"],
        ["System.CommandLine"] = ["OpenElm.Commands"],
        ["Spectre.Console"] = ["OpenElm.Cli"],
    };

    public static TheoryData<string> Projects => [.. Directory.GetFiles(Path.Combine(RepositoryFiles.Root, "src"), "*.csproj", SearchOption.AllDirectories)];

    [Theory, MemberData(nameof(Projects))]
    public void A_project_references_only_what_the_architecture_allows(string path)
    {
        string project = Path.GetFileNameWithoutExtension(path);
        XDocument file = XDocument.Load(path);
        Assert.Contains(project, Allowed.Keys);
        Assert.All(Includes(file, "ProjectReference").Select(Path.GetFileNameWithoutExtension), reference => Assert.Contains(reference, Allowed[project]));
        Assert.All(Includes(file, "PackageReference"), package => Assert.True(
            !OnlyIn.TryGetValue(package, out string[]? allowed) || allowed.Contains(project), $"{project} may not use {package}"));
        Assert.True(project != "OpenElm" || !Includes(file, "PackageReference").Any(), "the core uses no packages");
    }

    [Fact]
    public void Native_libraries_are_brought_by_programs_and_tests_only() => Assert.All(
        Directory.GetFiles(Path.Combine(RepositoryFiles.Root, "src"), "*.csproj", SearchOption.AllDirectories)
            .Where(path => File.ReadAllText(path).Contains("LibTorch.props", StringComparison.Ordinal)),
        path => Assert.Equal("OpenElm.Cli", Path.GetFileNameWithoutExtension(path)));

    [Fact]
    public void What_the_native_program_is_made_of_is_checked_for_trimming_with_every_build()
    {
        string[] parts = [.. Reached("OpenElm.Run").Distinct()];
        Assert.Contains("OpenElm.Inference", parts);
        Assert.All(parts, project =>
        {
            XDocument file = XDocument.Load(ProjectFile(project));
            string property = project == "OpenElm.Run" ? "PublishAot" : "IsAotCompatible"; // each turns the analyzers on
            Assert.Equal("true", file.Descendants(property).SingleOrDefault()?.Value);
            Assert.DoesNotContain(file.Descendants(), element =>
                element.Name.LocalName is "NoWarn" or "SuppressTrimAnalysisWarnings" or "EnableTrimAnalyzer" or "EnableAotAnalyzer" or "EnableSingleFileAnalyzer");
        });

        static IEnumerable<string> Reached(string project) => Includes(XDocument.Load(ProjectFile(project)), "ProjectReference")
            .SelectMany(reference => Reached(Path.GetFileNameWithoutExtension(reference))).Prepend(project);

        static string ProjectFile(string project) => Path.Combine(RepositoryFiles.Root, "src", project, project + ".csproj");
    }

    static IEnumerable<string> Includes(XDocument file, string element) => file.Descendants(element).Select(e => e.Attribute("Include")!.Value.Replace('\\', '/'));
}
