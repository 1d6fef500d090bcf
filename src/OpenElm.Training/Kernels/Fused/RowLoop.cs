using System.Runtime.InteropServices;
using OpenElm.Training.Torch;

namespace OpenElm.Training.Kernels.Fused;

/// <summary>Loops over rows on libtorch's own threads, so that its operators and ours do not compete for cores.</summary>
internal static unsafe class RowLoop
{
    /// <summary>Parts of a loop whose partial sums are added in order: a fixed number, so that sums do not depend on the number of threads.</summary>
    public const int Parts = 16;

    /// <summary>Runs a body over ranges of rows.</summary>
    /// <param name="rows">Rows in all.</param>
    /// <param name="grain">Rows that are worth a thread.</param>
    /// <param name="body">Takes the first row and the one after the last.</param>
    public static void For(long rows, long grain, Action<long, long> body)
    {
        var handle = GCHandle.Alloc(body);
        try
        {
            if (NativeInterface.ParallelFor(0, rows, grain, &Run, GCHandle.ToIntPtr(handle)) != 0)
            {
                throw new InvalidOperationException("torch_parallel_for failed; libtorch has written the reason to standard error.");
            }
        }
        finally
        {
            handle.Free();
        }
    }

    /// <summary>Runs a body over <see cref="Parts"/> ranges of rows.</summary>
    /// <param name="rows">Rows in all.</param>
    /// <param name="body">Takes the part, its first row and the one after its last.</param>
    public static void ForParts(long rows, Action<int, long, long> body) => For(Parts, 1, (begin, end) =>
    {
        for (long part = begin; part < end; part++)
        {
            body((int)part, rows * part / Parts, rows * (part + 1) / Parts);
        }
    });

    [UnmanagedCallersOnly]
    static void Run(long begin, long end, nint body) => ((Action<long, long>)GCHandle.FromIntPtr(body).Target!)(begin, end);
}
