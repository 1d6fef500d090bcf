using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace OpenElm.Cuda;

/// <summary>One kernel that ran.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Start">Nanoseconds of the device's clock.</param>
/// <param name="End">Nanoseconds.</param>
public readonly record struct TracedKernel(string Name, long Start, long End);

/// <summary>Records every kernel that runs between start and stop, by CUPTI's activity interface, which comes with PyTorch. One at a time.</summary>
public static unsafe class KernelTrace
{
    const int BufferBytes = 8 << 20;

    static readonly Lock Gate = new();
    static readonly List<TracedKernel> Kernels = [];

    /// <summary>Begins to record.</summary>
    /// <exception cref="CudaException">There is no CUPTI, or it is in use.</exception>
    public static void Start()
    {
        Kernels.Clear();
        Check(CuptiInterface.RegisterCallbacks(&Requested, &Completed));
        Check(CuptiInterface.Enable(CuptiInterface.ConcurrentKernel));
    }

    /// <summary>Forgets what was recorded; the device must be idle. The first kernels are slow, because CUPTI prepares itself.</summary>
    public static void Clear()
    {
        Check(CuptiInterface.FlushAll(1));
        lock (Gate)
        {
            Kernels.Clear();
        }
    }

    /// <summary>Ends the recording; the device must be idle.</summary>
    /// <returns>What ran, by start.</returns>
    public static IReadOnlyList<TracedKernel> Stop()
    {
        Check(CuptiInterface.FlushAll(1));
        Check(CuptiInterface.Disable(CuptiInterface.ConcurrentKernel));
        lock (Gate)
        {
            return [.. Kernels.OrderBy(kernel => kernel.Start)];
        }
    }

    /// <summary>The time in which some kernel ran; kernels may overlap.</summary>
    /// <param name="kernels">Kernels, by start.</param>
    /// <returns>Nanoseconds.</returns>
    public static long BusyNanoseconds(IReadOnlyList<TracedKernel> kernels)
    {
        ArgumentNullException.ThrowIfNull(kernels);
        (long busy, long end) = (0, long.MinValue);
        foreach (TracedKernel kernel in kernels)
        {
            busy += Math.Max(0, kernel.End - Math.Max(kernel.Start, end));
            end = Math.Max(end, kernel.End);
        }

        return busy;
    }

    [UnmanagedCallersOnly]
    static void Requested(byte** buffer, nuint* size, nuint* maxRecords)
    {
        *buffer = (byte*)NativeMemory.AlignedAlloc(BufferBytes, 8);
        (*size, *maxRecords) = (BufferBytes, 0);
    }

    [UnmanagedCallersOnly]
    static void Completed(nint context, uint stream, byte* buffer, nuint size, nuint validBytes)
    {
        byte* record = null;
        lock (Gate)
        {
            while (CuptiInterface.GetNextRecord(buffer, validBytes, ref record) == 0)
            {
                // CUpti_ActivityKernel4 and later begin alike: start at byte 16, end at 24, name at 104.
                if (*(int*)record == CuptiInterface.ConcurrentKernel)
                {
                    Kernels.Add(new TracedKernel(Marshal.PtrToStringUTF8(*(nint*)(record + 104)) ?? "?", *(long*)(record + 16), *(long*)(record + 24)));
                }
            }
        }

        NativeMemory.AlignedFree(buffer);
    }

    static void Check(int status, [CallerArgumentExpression(nameof(status))] string call = "")
    {
        if (status != 0)
        {
            throw new CudaException($"CUPTI: status {status} for {call}");
        }
    }
}
