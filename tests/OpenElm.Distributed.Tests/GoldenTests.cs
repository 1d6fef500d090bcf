using System.Diagnostics;
using System.Text.Json;

namespace OpenElm.Distributed.Tests;

/// <summary>
/// The reference implementation's own trajectory over ranks: two share its micro-batches, four the sequences of each. And the ways in which ranks are started: all of them run <c>openelm verify</c>.
/// </summary>
public sealed class GoldenTests : IDisposable
{
    static readonly string[] Verify = ["dotnet", Path.Combine(AppContext.BaseDirectory, "openelm.dll"), "verify", RepositoryFiles.Golden, "--json"];

    // What mpirun tells its ranks and srun does not; PMIx's variables stay.
    const string WithoutMpirun = "for v in $(env | grep -E '^(OMPI|ORTE)' | cut -d= -f1); do unset $v; done; exec \"$@\"";

    readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory, InlineData(2), InlineData(4)]
    public async Task The_reference_trajectory_over_ranks_at_every_level_of_sharding(int ranks)
    {
        Ranks.Require();
        AssertPassed(ranks, await Run(["mpirun", "-n", $"{ranks}", "--bind-to", "none", "--oversubscribe", .. Verify]));
    }

    [Fact]
    public async Task Ranks_that_have_Slurms_variables_and_a_PMIx_server_alone_find_each_other()
    {
        Ranks.Require();
        string[] slurm = ["env", "SLURM_JOBID=7", "SLURM_STEP_ID=0", $"SLURM_NODELIST={Environment.MachineName}", "SLURM_STEP_NUM_TASKS=2"];
        AssertPassed(2, await Run(["mpirun", "-n", "2", "--bind-to", "none", "--oversubscribe", "sh", "-c", WithoutMpirun, "sh", .. slurm, .. Verify]));
    }

    [Fact]
    public async Task Processes_of_Slurm_that_Open_MPI_does_not_see_are_refused()
    {
        Ranks.Require();
        (int code, _, string error) = await Run(["env", "SLURM_STEP_NUM_TASKS=2", .. Verify]);
        Assert.Equal(2, code);
        Assert.Contains("2 processes were started, but Open MPI sees 1; start them with mpirun of the same Open MPI, or with srun --mpi=pmix.", error, StringComparison.Ordinal);
    }

    static void AssertPassed(int ranks, (int Code, string Output, string Error) job)
    {
        Assert.True(job.Code == 0, job.Error + job.Output);
        using JsonDocument report = JsonDocument.Parse(job.Output); // the first rank's alone
        JsonElement[] files = [.. report.RootElement.GetProperty("files").EnumerateArray()];
        Assert.Equal(
            new[] { "none", "optimizer", "gradients", "parameters" }.Select(level => $"training ({ranks} x cpu, {level}) passed"),
            files.Select(file => $"{file.GetProperty("runtime").GetString()} {file.GetProperty("status").GetString()}"));
        Assert.All(files, file => Assert.Equal((20 * 4) + 18, file.GetProperty("checks").GetArrayLength())); // four numbers an update, 18 weights
    }

    async Task<(int Code, string Output, string Error)> Run(string[] command)
    {
        using Process process = Ranks.Start(_folder.Path, command);
        return await Ranks.EndOf(process);
    }
}
