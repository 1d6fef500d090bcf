using System.Runtime.InteropServices;

namespace OpenElm.Checkpoints;

/// <summary>Bytes outside the garbage-collected heap, for weights that cannot be mapped as they are stored; aligned to a cache line.</summary>
internal sealed unsafe class NativeBytes : SafeHandle
{
    const int Alignment = 64;

    /// <summary>Allocates bytes; they are not cleared.</summary>
    /// <param name="length">How many.</param>
    public NativeBytes(long length)
        : base(0, ownsHandle: true)
    {
        Length = length;
        SetHandle((nint)NativeMemory.AlignedAlloc(checked((nuint)Math.Max(1, length)), Alignment));
    }

    /// <summary>The number of bytes.</summary>
    public long Length { get; }

    /// <inheritdoc/>
    public override bool IsInvalid => handle == 0;

    /// <summary>The first byte.</summary>
    public nint Address => handle;

    /// <summary>Some of the bytes.</summary>
    /// <param name="start">The first.</param>
    /// <param name="count">How many.</param>
    /// <returns>[count].</returns>
    public Span<byte> Slice(long start, int count) => start >= 0 && count >= 0 && start <= Length - count
        ? new((byte*)handle + start, count)
        : throw new ArgumentOutOfRangeException(nameof(start), $"[{start}, {start + count}) is outside of {Length} bytes.");

    /// <inheritdoc/>
    protected override bool ReleaseHandle()
    {
        NativeMemory.AlignedFree((void*)handle);
        return true;
    }
}
