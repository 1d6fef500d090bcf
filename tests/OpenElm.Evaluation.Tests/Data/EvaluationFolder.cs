using OpenElm.Evaluation.Data;

namespace OpenElm.Evaluation.Tests.Data;

/// <summary>The real data, which are not in the repository.</summary>
internal static class EvaluationFolder
{
    /// <summary>The folder, or null.</summary>
    public static string? Path { get; } =
        new[] { Environment.GetEnvironmentVariable(EvaluationData.EnvironmentVariable), System.IO.Path.Combine(RepositoryFiles.Root, "..", "shared", "data", "eval") }
            .FirstOrDefault(Directory.Exists);

    /// <summary>The data; skips the test where they are not.</summary>
    public static EvaluationData Required()
    {
        Assert.SkipWhen(Path is null, $"the evaluation data are not here; set {EvaluationData.EnvironmentVariable}");
        return new EvaluationData(Path!);
    }
}
