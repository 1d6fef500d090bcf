using System.Runtime.CompilerServices;
using static OpenElm.Cuda.CudaDevice;

namespace OpenElm.Cuda;

/// <summary>A matrix of bfloat16 as the copy engine of the GPU knows it, for kernels that fetch and send boxes of it: an argument of theirs, by value.</summary>
/// <remarks>Boxes have rows of 128 bytes in shared memory, swizzled as products of warp groups read them. What of a box lies outside of the matrix is read as zeros and not written.</remarks>
[InlineArray(Words)]
public struct TensorMap
{
    const int Words = 16, Alignment = 64, ElementBytes = 2;

    ulong _first;

    /// <summary>Describes a matrix.</summary>
    /// <param name="address">Its first element; a multiple of 16 bytes.</param>
    /// <param name="size">Rows and columns.</param>
    /// <param name="stride">Elements from one row to the next; a multiple of 8.</param>
    /// <param name="boxRows">Rows of a box; 256 at most. It has 64 columns.</param>
    /// <returns>The description.</returns>
    /// <exception cref="CudaException">The driver refuses it.</exception>
    public static unsafe TensorMap Of(nint address, (int Rows, int Columns) size, int stride, int boxRows)
    {
        byte* memory = stackalloc byte[(Words * sizeof(ulong)) + Alignment];
        var map = (TensorMap*)(((nint)memory + Alignment - 1) / Alignment * Alignment);
        ulong* sizes = stackalloc ulong[] { (ulong)size.Columns, (ulong)size.Rows };
        ulong strideBytes = (ulong)stride * ElementBytes;
        uint* box = stackalloc uint[] { 64, (uint)boxRows }, steps = stackalloc uint[] { 1, 1 };
        Check(DriverInterface.TensorMapEncode(map, DriverInterface.BFloat16, 2, address, sizes, &strideBytes, box, steps, 0, DriverInterface.Swizzle128, DriverInterface.Promote128, 0),
            $"cuTensorMapEncodeTiled({size.Rows} x {size.Columns}, {stride} apart)");
        return *map;
    }
}
