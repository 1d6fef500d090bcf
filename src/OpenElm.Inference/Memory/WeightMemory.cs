using System.Runtime.InteropServices;

namespace OpenElm.Inference.Memory;

/// <summary>The memory of all tiles of a model: one block, in huge pages where the system has them, so that reading it misses no address translations.</summary>
internal sealed unsafe partial class WeightMemory : SafeHandle
{
    const int HugePage = 2 << 20, MadviseHugePage = 14;

    /// <summary>Allocates; the contents are undefined.</summary>
    /// <param name="bytes">How much.</param>
    public WeightMemory(long bytes)
        : base(0, ownsHandle: true)
    {
        nuint size = (nuint)((Math.Max(bytes, 1) + HugePage - 1) & ~(HugePage - 1L));
        SetHandle((nint)NativeMemory.AlignedAlloc(size, HugePage));
        if (OperatingSystem.IsLinux())
        {
            _ = Madvise(handle, size, MadviseHugePage); // a wish: where it is refused, small pages do
        }
    }

    /// <inheritdoc/>
    public override bool IsInvalid => handle == 0;

    /// <summary>The first byte.</summary>
    public nint Address => handle;

    /// <inheritdoc/>
    protected override bool ReleaseHandle()
    {
        NativeMemory.AlignedFree((void*)handle);
        return true;
    }

    [LibraryImport("libc", EntryPoint = "madvise")]
    private static partial int Madvise(nint address, nuint length, int advice);
}
