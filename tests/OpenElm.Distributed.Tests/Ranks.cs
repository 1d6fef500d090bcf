using System.Diagnostics;
using System.Globalization;
using System.Text;

[assembly: Xunit.v3.Parallelization(Mode = Xunit.Sdk.ParallelMode.None)] // ranks and their timeouts want the cores

namespace OpenElm.Distributed.Tests;

/// <summary>Runs <c>openelm</c> as real processes: alone, or as the ranks of a job that <c>mpirun</c> starts.</summary>
internal static class Ranks
{
    /// <summary>Skips the test where there is no Open MPI.</summary>
    public static void Require() => Assert.SkipUnless(
        (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':').Any(folder => File.Exists(Path.Combine(folder, "mpirun"))),
        "mpirun is not installed (Debian: apt-get install openmpi-bin libopenmpi-dev)");

    /// <summary>Starts a job.</summary>
    /// <param name="folder">The working directory.</param>
    /// <param name="ranks">Processes; 0 is one without mpirun.</param>
    /// <param name="args">The arguments of openelm.</param>
    public static Process Start(string folder, int ranks, params IEnumerable<string> args)
    {
        string[] program = ["dotnet", Path.Combine(AppContext.BaseDirectory, "openelm.dll"), .. args];
        string[] command = ranks == 0 ? program : ["mpirun", "-n", $"{ranks}", "--bind-to", "none", "--oversubscribe", .. program];
        return Start(folder, command);
    }

    /// <summary>Starts a command line.</summary>
    public static Process Start(string folder, string[] command)
    {
        var start = new ProcessStartInfo(command[0], command[1..]) { RedirectStandardOutput = true, RedirectStandardError = true, WorkingDirectory = folder };
        foreach ((string name, string value) in new[] { ("OMPI_ALLOW_RUN_AS_ROOT", "1"), ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"), ("OMP_NUM_THREADS", "1") })
        {
            start.Environment[name] = value;
        }

        return Process.Start(start)!;
    }

    /// <summary>Runs a job to its end.</summary>
    public static async Task<(int Code, string Output, string Error)> Run(string folder, int ranks, params IEnumerable<string> args)
    {
        using Process process = Start(folder, ranks, args);
        return await EndOf(process);
    }

    /// <summary>Waits for the end of a job.</summary>
    public static async Task<(int Code, string Output, string Error)> EndOf(Process process)
    {
        CancellationToken stop = TestContext.Current.CancellationToken;
        Task<string> output = process.StandardOutput.ReadToEndAsync(stop), error = process.StandardError.ReadToEndAsync(stop);
        await process.WaitForExitAsync(stop);
        return (process.ExitCode, await output, await error);
    }

    /// <summary>Runs a job that must succeed.</summary>
    public static async Task<string> Succeed(string folder, int ranks, params IEnumerable<string> args)
    {
        (int code, string output, string error) = await Run(folder, ranks, args);
        Assert.True(code == 0, $"{ranks} ranks of openelm {string.Join(' ', args)} ended with {code}:\n{error}");
        return output;
    }

    /// <summary>The process of a rank of a job that works in a folder.</summary>
    public static int ProcessOf(string folder, int rank) => FindProcess(folder, rank) ?? throw new InvalidOperationException($"No process of rank {rank} works in {folder}.");

    /// <summary>The process of a rank of a job that works in a folder; null if it has not begun or is over.</summary>
    public static int? FindProcess(string folder, int rank) => ProcessesOf(folder, rank).Cast<int?>().FirstOrDefault();

    static IEnumerable<int> ProcessesOf(string folder, int rank) => Directory.GetDirectories("/proc").Select(path => Path.GetFileName(path))
        .Where(name => int.TryParse(name, out _)).Select(int.Parse)
        .Where(id => Read($"/proc/{id}/environ").Contains($"\0OMPI_COMM_WORLD_RANK={rank}\0", StringComparison.Ordinal)
            && Read($"/proc/{id}/cmdline").Contains("openelm.dll", StringComparison.Ordinal) && Directory.ResolveLinkTarget($"/proc/{id}/cwd", returnFinalTarget: false)?.FullName == folder);

    /// <summary>Waits for the end of a job.</summary>
    /// <returns>The most kilobytes of addresses that a rank had.</returns>
    public static async Task<long> MostAddresses(string folder, int rank, Process job)
    {
        long most = 0;
        for (int? process = null; !job.HasExited; await Task.Delay(20, TestContext.Current.CancellationToken))
        {
            process ??= FindProcess(folder, rank);
            string[] lines = process is null ? [] : Read($"/proc/{process}/status").Split('\n');
            most = Math.Max(most, lines.Where(line => line.StartsWith("VmPeak:", StringComparison.Ordinal)).Select(line => long.Parse(line[7..].Replace("kB", "", StringComparison.Ordinal), CultureInfo.InvariantCulture)).FirstOrDefault());
        }

        Assert.True(most > 0, "The job was over before its rank was seen.");
        return most;
    }

    /// <summary>Sends a signal.</summary>
    public static async Task Signal(string signal, int process)
    {
        using Process kill = Process.Start("kill", [$"-{signal}", $"{process}"]);
        await kill.WaitForExitAsync(TestContext.Current.CancellationToken);
    }

    static string Read(string file)
    {
        try
        {
            return Encoding.UTF8.GetString(File.ReadAllBytes(file));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return ""; // it has ended, or is another user's
        }
    }
}
