using System.Diagnostics;
using System.Runtime.InteropServices;

namespace OpenElm.Run.Tests;

/// <summary>The program as the tests were built with it, and as <c>dotnet publish</c> makes it: native, in one file. Published once for all tests.</summary>
internal static class RunPrograms
{
    /// <summary>The variable that asks for the tests of the published program: they compile it, which takes minutes.</summary>
    public const string SlowTests = "OPENELM_SLOW_TESTS";

    static readonly Lazy<PublishedProgram> Publish = new(PublishedProgram.Create);

    /// <summary>The published program; skips the test where it is not asked for or cannot be made.</summary>
    public static PublishedProgram Published
    {
        get
        {
            if (Environment.GetEnvironmentVariable(SlowTests) != "1")
            {
                Assert.Skip($"compiles the program ahead of time, which takes minutes: set {SlowTests}=1");
            }

            if (!OperatingSystem.IsWindows() && !OperatingSystem.IsMacOS() && !IsOnPath("clang") && !IsOnPath("gcc"))
            {
                Assert.Skip("neither clang nor gcc is installed, one of which links the program");
            }

            return Publish.Value;
        }
    }

    /// <summary>Runs the program that the tests were built with, which is compiled as it runs.</summary>
    public static (int Code, string Output, string Error) RunJitted(params string[] args) =>
        Run("dotnet", [Path.Combine(AppContext.BaseDirectory, "openelm-run.dll"), .. args]);

    /// <summary>Runs a program to its end.</summary>
    public static (int Code, string Output, string Error) Run(string program, IEnumerable<string> args)
    {
        var start = new ProcessStartInfo(program, args) { RedirectStandardOutput = true, RedirectStandardError = true, WorkingDirectory = RepositoryFiles.Root };
        using var process = Process.Start(start)!;
        Task<string> error = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, output, error.Result);
    }

    static bool IsOnPath(string program) =>
        (Environment.GetEnvironmentVariable("PATH") ?? "").Split(Path.PathSeparator).Any(folder => File.Exists(Path.Combine(folder, program)));
}

/// <summary>What publishing gave.</summary>
/// <param name="Folder">The published folder.</param>
/// <param name="Log">What the build said.</param>
internal sealed record PublishedProgram(string Folder, string Log)
{
    public string Path => System.IO.Path.Combine(Folder, OperatingSystem.IsWindows() ? "openelm-run.exe" : "openelm-run");

    public (int Code, string Output, string Error) Run(params string[] args) => RunPrograms.Run(Path, args);

    public static PublishedProgram Create()
    {
        // Beside the repository's own bin/ and obj/, which other builds may be using.
        string folder = Directory.CreateTempSubdirectory("openelm-run-").FullName;
        AppDomain.CurrentDomain.ProcessExit += (_, _) => Directory.Delete(folder, recursive: true);
        (int code, string output, string error) = RunPrograms.Run("dotnet",
        [
            "publish", System.IO.Path.Combine(RepositoryFiles.Root, "src", "OpenElm.Run"), "-c", "Release", "-r", RuntimeInformation.RuntimeIdentifier,
            "--artifacts-path", System.IO.Path.Combine(folder, "artifacts"), "-o", System.IO.Path.Combine(folder, "publish"),
        ]);
        Assert.True(code == 0, output + error);
        return new PublishedProgram(System.IO.Path.Combine(folder, "publish"), output + error);
    }
}
