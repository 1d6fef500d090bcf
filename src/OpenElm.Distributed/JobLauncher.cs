using System.Globalization;

namespace OpenElm.Distributed;

/// <summary>Whether something started this process as one of several: <c>mpirun</c> or Slurm's <c>srun</c>.</summary>
public static class JobLauncher
{
    /// <summary>Whether this process is one of several, or one that a launcher calls a rank.</summary>
    public static bool IsLaunched => Ranks > 0 || Tasks > 1 || Environment.GetEnvironmentVariable("PMIX_RANK") is not null;

    static int Tasks => Number("SLURM_STEP_NUM_TASKS");

    static int Ranks => Number("OMPI_COMM_WORLD_SIZE");

    /// <summary>Joins the job this process belongs to.</summary>
    /// <param name="tell">Writes the one line that says why a job ends.</param>
    /// <returns>The ranks; null where the process is alone, and then no MPI is looked for.</returns>
    /// <exception cref="OpenElmException">Open MPI is missing, or does not see the job.</exception>
    public static IProcessGroup? Join(Action<string> tell)
    {
        if (!IsLaunched)
        {
            return null;
        }

        var group = new MpiProcessGroup(tell);
        int started = Math.Max(Tasks, Ranks);
        return group.Size >= started
            ? group
            : throw new OpenElmException($"{started} processes were started, but Open MPI sees {group.Size}; start them with mpirun of the same Open MPI, or with srun --mpi=pmix.");
    }

    static int Number(string variable) =>
        int.TryParse(Environment.GetEnvironmentVariable(variable), NumberStyles.None, CultureInfo.InvariantCulture, out int number) ? number : 0;
}
