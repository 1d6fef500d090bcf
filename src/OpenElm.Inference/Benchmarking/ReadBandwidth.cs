using System.Diagnostics;
using System.Runtime.Intrinsics;
using OpenElm.Inference.Threading;

namespace OpenElm.Inference.Benchmarking;

/// <summary>How fast the threads of a model read its weights when they do nothing else: the ceiling of generation.</summary>
internal sealed unsafe class ReadBandwidth(nint address, long bytes) : SplitJob
{
    const int Stretch = 8 * 64;

    long _sum;

    /// <summary>Reads everything some times.</summary>
    /// <param name="team">The threads.</param>
    /// <param name="times">How often.</param>
    /// <returns>Bytes a second of the fastest time.</returns>
    public double Measure(ThreadTeam team, int times)
    {
        double best = 0;
        for (int i = 0; i < times; i++)
        {
            long start = Stopwatch.GetTimestamp();
            team.Run(this, split: true);
            best = Math.Max(best, bytes / Stopwatch.GetElapsedTime(start).TotalSeconds);
        }

        return best;
    }

    /// <inheritdoc/>
    public override void Run(int part, int parts, SpinBarrier barrier)
    {
        byte* from = (byte*)address + (bytes * part / parts / Stretch * Stretch), end = (byte*)address + (bytes * (part + 1) / parts / Stretch * Stretch);
        Vector256<long> a = default, b = default, c = default, d = default;
        for (; from < end; from += Stretch)
        {
            for (int i = 0; i < Stretch; i += 128)
            {
                a ^= Vector256.Load((long*)(from + i));
                b ^= Vector256.Load((long*)(from + i + 32));
                c ^= Vector256.Load((long*)(from + i + 64));
                d ^= Vector256.Load((long*)(from + i + 96));
            }
        }

        Interlocked.Add(ref _sum, Vector256.Sum(a ^ b ^ c ^ d)); // so that nothing is optimised away
    }
}
