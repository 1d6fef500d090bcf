using System.Globalization;
using OpenElm.Distributed;
using OpenElm.Training.Reporting;
using OpenElm.Training.Torch;
using TorchSharp;

namespace OpenElm.Cli;

/// <summary>What a verb does as one of several processes that <c>mpirun</c> or <c>srun</c> started: join them, and end all of them if one fails.</summary>
internal static class Job
{
    static readonly TimeSpan LetTheFirstSpeak = TimeSpan.FromSeconds(3);

    /// <summary>Runs a verb on every rank; where one fails, it says why in one line and the job ends.</summary>
    /// <param name="context">Where it writes.</param>
    /// <param name="work">The verb; its argument is null for a process that is alone.</param>
    public static void Run(ConsoleContext context, Action<IProcessGroup?> work)
    {
        IProcessGroup? group = JobLauncher.Join(line => context.Error.WriteLine($"openelm: {line}"));
        if (group is null)
        {
            work(null);
            return;
        }

        try
        {
            work(group);
            group.Dispose();
        }
        catch (OperationCanceledException)
        {
            group.Dispose();
            if (context.Cancellation.IsCancellationRequested)
            {
                throw;
            }

            Environment.Exit(ExitCodes.Stopped); // another rank was told to stop
        }
        catch (Exception problem) when (End(context, group, problem)) // a filter, so that nothing is disposed of before: exchanges that have begun would be waited for
        {
            throw;
        }
    }

    /// <summary>The device of this rank: with <c>cuda</c>, its own GPU of the machine.</summary>
    /// <param name="device">What was asked for.</param>
    /// <param name="group">The ranks; null for a process that is alone.</param>
    public static string DeviceOf(string device, IProcessGroup? group) => group is not null && device == "cuda" && TorchLibrary.Describe().CudaDevices is > 0 and var devices
        ? string.Create(CultureInfo.InvariantCulture, $"cuda:{group.LocalRank % devices}")
        : device;

    /// <summary>Divides the machine's cores among its ranks, unless <c>OMP_NUM_THREADS</c> says or the launcher has bound them.</summary>
    /// <param name="group">The ranks; null for a process that is alone.</param>
    public static void ShareCores(IProcessGroup? group)
    {
        if (group is not null && Environment.GetEnvironmentVariable("OMP_NUM_THREADS") is null && Environment.ProcessorCount == CoresOfMachine())
        {
            torch.set_num_threads(Math.Max(1, Environment.ProcessorCount / group.LocalSize));
        }
    }

    /// <summary>The first rank's observer is the given one; the others only pass warnings on.</summary>
    /// <param name="context">Where they go.</param>
    /// <param name="group">The ranks; null for a process that is alone.</param>
    /// <param name="observer">What a process that is alone has.</param>
    public static IRunObserver ObserverOf(ConsoleContext context, IProcessGroup? group, IRunObserver observer) =>
        group.IsFirst() ? observer : new Messages(line => context.Log($"rank {group!.Rank}: {line}"));

    static bool End(ConsoleContext context, IProcessGroup group, Exception problem)
    {
        if (group.Rank > 0)
        {
            Thread.Sleep(LetTheFirstSpeak); // where all ranks fail alike, one line is enough
        }

        string? shortage = problem is OpenElmException ? null : MemoryShortage.Of(problem);
        bool isUsers = problem is OpenElmException || shortage is not null;
        string reason = shortage ?? problem.Message.Split('\n')[0];
        if (!isUsers)
        {
            context.Error.WriteLine(problem);
        }

        context.Error.WriteLine($"openelm: rank {group.Rank} on {group.Hosts[group.Rank]} ends the job: {reason}");
        context.Error.Flush();
        group.Abort(isUsers ? ExitCodes.UserInput : ExitCodes.Bug);
        return true;
    }

    static int CoresOfMachine() => File.Exists("/proc/cpuinfo")
        ? File.ReadLines("/proc/cpuinfo").Count(line => line.StartsWith("processor", StringComparison.Ordinal))
        : Environment.ProcessorCount;

    sealed class Messages(Action<string> write) : IRunObserver
    {
        public void OnMessage(string message) => write(message);
    }
}
