using System.Diagnostics;
using System.Globalization;

namespace OpenElm.Inference.Benchmarking;

/// <summary>Processor time of the whole machine, to tell whether others disturbed a measurement (Linux; elsewhere nothing is known).</summary>
/// <param name="BusySeconds">All processors, all processes.</param>
/// <param name="StolenSeconds">Taken by the host of a virtual machine.</param>
/// <param name="OwnSeconds">This process.</param>
/// <param name="Timestamp">When.</param>
public readonly record struct SystemTimes(double BusySeconds, double StolenSeconds, double OwnSeconds, long Timestamp)
{
    const string File = "/proc/stat";
    const double TicksPerSecond = 100; // USER_HZ of every Linux on x64 and Arm

    /// <summary>What others took, in percent of one processor.</summary>
    /// <param name="OthersPercent">Other processes.</param>
    /// <param name="StealPercent">The host.</param>
    public sealed record Disturbance(double OthersPercent, double StealPercent)
    {
        /// <summary>Whether the measurement should be thrown away.</summary>
        public bool IsLarge => OthersPercent > 4 || StealPercent > 3;
    }

    /// <summary>Reads the counters.</summary>
    /// <returns>The counters, or null where the system has none.</returns>
    public static SystemTimes? Read()
    {
        if (!System.IO.File.Exists(File))
        {
            return null;
        }

        double[] ticks = [.. System.IO.File.ReadLines(File).First().Split(' ', StringSplitOptions.RemoveEmptyEntries).Skip(1).Select(field => double.Parse(field, CultureInfo.InvariantCulture))];
        using var self = Process.GetCurrentProcess();
        return new SystemTimes((ticks[0] + ticks[1] + ticks[2] + ticks[5] + ticks[6]) / TicksPerSecond, ticks[7] / TicksPerSecond, self.TotalProcessorTime.TotalSeconds, Stopwatch.GetTimestamp());
    }

    /// <summary>What others took since.</summary>
    /// <param name="before">The counters then.</param>
    /// <returns>The shares, or null where nothing is known.</returns>
    public static Disturbance? Since(SystemTimes? before)
    {
        if (before is not { } then || Read() is not { } now)
        {
            return null;
        }

        double seconds = Stopwatch.GetElapsedTime(then.Timestamp, now.Timestamp).TotalSeconds;
        double others = now.BusySeconds - then.BusySeconds - (now.OwnSeconds - then.OwnSeconds);
        return new Disturbance(Math.Max(0, others / seconds * 100), (now.StolenSeconds - then.StolenSeconds) / seconds * 100);
    }
}
