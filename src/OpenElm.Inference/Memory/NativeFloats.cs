using System.Collections.Immutable;
using System.Runtime.InteropServices;
using OpenElm.Checkpoints;

namespace OpenElm.Inference.Memory;

/// <summary>Floats outside the garbage-collected heap, aligned to a cache line: they never move, so kernel threads may hold their address.</summary>
internal sealed unsafe class NativeFloats : SafeHandle
{
    const int Alignment = 64;

    /// <summary>Allocates zeros.</summary>
    /// <param name="length">The number of floats.</param>
    public NativeFloats(long length)
        : base(0, ownsHandle: true)
    {
        Length = length;
        nuint bytes = checked(((nuint)length * sizeof(float)) + Alignment);
        SetHandle((nint)NativeMemory.AllocZeroed(bytes)); // the system gives zeroed pages when they are first touched: an unused cache costs nothing
        Pointer = (float*)((handle + Alignment - 1) & -Alignment);
    }

    /// <summary>The number of floats.</summary>
    public long Length { get; }

    /// <inheritdoc/>
    public override bool IsInvalid => handle == 0;

    /// <summary>The first float.</summary>
    public float* Pointer { get; }

    /// <summary>All floats; fewer than 2^31.</summary>
    public Span<float> Values => new(Pointer, checked((int)Length));

    /// <summary>The floats as a stored tensor, valid while this is not disposed.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="shape">Its sizes.</param>
    /// <returns>The view.</returns>
    public TensorView AsTensor(string name, ImmutableArray<long> shape) => new(name, DType.F32, shape, (nint)Pointer, Length * sizeof(float));

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
        NativeMemory.Free((void*)handle);
        return true;
    }
}
