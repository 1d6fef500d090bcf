namespace OpenElm.Testing;

/// <summary>Where tests find the repository's files.</summary>
internal static class RepositoryFiles
{
    /// <summary>The repository root.</summary>
    public static string Root { get; } = FindRoot();

    /// <summary>The folder of golden files: <c>OPENELM_GOLDEN</c>, or the one in the repository.</summary>
    public static string Golden { get; } = Environment.GetEnvironmentVariable("OPENELM_GOLDEN") is { Length: > 0 } folder ? folder : Path.Combine(Root, "tests", "Golden");

    /// <summary>LLaMA's tokenizer, which is not open source and therefore not in the repository; null where it is missing.</summary>
    public static string? LlamaTokenizer { get; } =
        new[] { Environment.GetEnvironmentVariable("OPENELM_LLAMA_TOKENIZER"), Path.Combine(Root, "..", "shared", "data", "tokenizer", "llama", "tokenizer.model") }
            .FirstOrDefault(File.Exists);

    static string FindRoot()
    {
        DirectoryInfo? folder = new(AppContext.BaseDirectory);
        while (folder is not null && !File.Exists(Path.Combine(folder.FullName, "OpenElm.slnx")))
        {
            folder = folder.Parent;
        }

        return folder?.FullName ?? throw new InvalidOperationException("The tests run outside the repository.");
    }
}

/// <summary>A temporary folder that is deleted with the test.</summary>
internal sealed class TemporaryFolder : IDisposable
{
    public string Path { get; } = Directory.CreateTempSubdirectory("openelm-test-").FullName;

    /// <summary>A path inside the folder.</summary>
    public string this[string name] => System.IO.Path.Combine(Path, name);

    public void Dispose() => Directory.Delete(Path, recursive: true);
}
