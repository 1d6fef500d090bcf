using System.Runtime.InteropServices;

namespace OpenElm.Inference;

/// <summary>Floats outside the garbage-collected heap, aligned to a cache line: they never move, so kernel threads may hold their address.</summary>
internal sealed unsafe class NativeFloats : SafeHandle
{
    /// <summary>Allocates zeros.</summary>
    /// <param name="length">The number of floats.</param>
    public NativeFloats(long length)
        : base(0, ownsHandle: true)
    {
        Length = length;
        nuint bytes = checked((nuint)Math.Max(1, length) * sizeof(float));
        SetHandle((nint)NativeMemory.AlignedAlloc(bytes, 64));
        NativeMemory.Clear((void*)handle, bytes);
    }

    /// <summary>The number of floats.</summary>
    public long Length { get; }

    /// <inheritdoc/>
    public override bool IsInvalid => handle == 0;

    /// <summary>The first float.</summary>
    public float* Pointer => (float*)handle;

    /// <summary>Floats from <paramref name="start"/> on.</summary>
    /// <param name="start">The first.</param>
    /// <param name="length">How many.</param>
    /// <returns>The window.</returns>
    public Span<float> Slice(long start, int length) =>
        start >= 0 && length >= 0 && start + length <= Length
            ? new(Pointer + start, length)
            : throw new ArgumentOutOfRangeException(nameof(start), $"[{start}, {start + length}) is outside of {Length} floats.");

    /// <inheritdoc/>
    protected override bool ReleaseHandle()
    {
        NativeMemory.AlignedFree((void*)handle);
        return true;
    }
}
