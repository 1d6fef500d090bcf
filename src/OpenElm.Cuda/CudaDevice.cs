using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace OpenElm.Cuda;

/// <summary>One GPU, through the driver: the context is the one that the CUDA runtime and libtorch use.</summary>
public sealed class CudaDevice
{
    readonly nint _context;

    /// <summary>Opens a GPU.</summary>
    /// <param name="ordinal">Its number.</param>
    /// <exception cref="CudaException">There is no driver or no such GPU.</exception>
    public unsafe CudaDevice(int ordinal = 0)
    {
        Check(DriverInterface.Init(0));
        Check(DriverInterface.DeviceGet(out int device, ordinal));
        byte* name = stackalloc byte[256];
        Check(DriverInterface.DeviceGetName(name, 256, device));
        Check(DriverInterface.DeviceGetAttribute(out int major, DriverInterface.ComputeCapabilityMajor, device));
        Check(DriverInterface.DeviceGetAttribute(out int minor, DriverInterface.ComputeCapabilityMinor, device));
        Check(DriverInterface.DeviceGetAttribute(out int multiprocessors, DriverInterface.MultiprocessorCount, device));
        (Name, ComputeCapability, Multiprocessors) = (Marshal.PtrToStringUTF8((nint)name)!, (10 * major) + minor, multiprocessors);
        Check(DriverInterface.PrimaryContextRetain(out _context, device));
        MakeCurrent();
    }

    /// <summary>The product's name.</summary>
    public string Name { get; }

    /// <summary>Ten times the major number plus the minor one: 90 is Hopper.</summary>
    public int ComputeCapability { get; }

    /// <summary>How many multiprocessors it has.</summary>
    public int Multiprocessors { get; }

    /// <summary>Makes the GPU that of the calling thread; every thread that launches something says so once.</summary>
    public void MakeCurrent() => Check(DriverInterface.ContextSetCurrent(_context));

    /// <summary>Bytes of the device's memory in use, by whomever, and all there are.</summary>
    public static (long Used, long Total) Memory
    {
        get
        {
            Check(DriverInterface.MemoryInfo(out nuint free, out nuint total));
            return ((long)(total - free), (long)total);
        }
    }

    /// <summary>Sets bytes to 0.</summary>
    /// <param name="address">The first.</param>
    /// <param name="bytes">How many.</param>
    /// <param name="stream">The stream.</param>
    public static void Clear(nint address, long bytes, nint stream) => Check(DriverInterface.MemorySet(address, 0, (nuint)bytes, stream));

    /// <summary>Copies numbers to the device; they may change as soon as this returns.</summary>
    /// <typeparam name="T">Their type.</typeparam>
    /// <param name="source">The numbers.</param>
    /// <param name="target">Where to.</param>
    /// <param name="stream">The stream.</param>
    public static unsafe void Copy<T>(ReadOnlySpan<T> source, nint target, nint stream)
        where T : unmanaged
    {
        // From pageable memory the driver copies into a buffer of its own before it returns.
        fixed (T* first = source)
        {
            Check(DriverInterface.CopyToDevice(target, first, (nuint)(source.Length * sizeof(T)), stream));
        }
    }

    /// <summary>Waits for everything that was put into a stream.</summary>
    /// <param name="stream">The stream.</param>
    public static void Synchronize(nint stream) => Check(DriverInterface.StreamSynchronize(stream));

    internal static unsafe void Check(int result, [CallerArgumentExpression(nameof(result))] string call = "")
    {
        if (result != 0)
        {
            string text = DriverInterface.GetErrorString(result, out byte* words) == 0 ? Marshal.PtrToStringUTF8((nint)words)! : $"error {result}";
            throw new CudaException($"CUDA: {call} failed: {text}");
        }
    }
}
