using System.Runtime.CompilerServices;
using static OpenElm.Cuda.CudaDevice;

namespace OpenElm.Cuda;

/// <summary>A matrix as the copy engine of the GPU knows it, for kernels that fetch and send boxes of it: an argument of theirs, by value, or in their constant memory.</summary>
/// <remarks>What of a box lies outside of the matrix is read as zeros and not written.</remarks>
[InlineArray(Words)]
public struct TensorMap
{
    const int Words = 16, Alignment = 64, ElementBytes = 2;

    ulong _first;

    /// <summary>Describes a matrix of bfloat16, whose boxes have rows of 128 bytes in shared memory, swizzled as products of warp groups read them.</summary>
    /// <param name="address">Its first element; a multiple of 16 bytes.</param>
    /// <param name="size">Rows and columns.</param>
    /// <param name="stride">Elements from one row to the next; a multiple of 8.</param>
    /// <param name="boxRows">Rows of a box; 256 at most. It has 64 columns.</param>
    /// <returns>The description.</returns>
    /// <exception cref="CudaException">The driver refuses it.</exception>
    public static TensorMap Of(nint address, (int Rows, int Columns) size, int stride, int boxRows) =>
        Encode(DriverInterface.BFloat16, address, [(ulong)size.Columns, (ulong)size.Rows], [(ulong)stride * ElementBytes], [64, (uint)boxRows], DriverInterface.Swizzle128, DriverInterface.Promote128);

    /// <summary>Describes rows of bytes, or pairs of them: eights of bytes, the rows of a pair, pairs. The rows of a box lie one behind the other in shared memory.</summary>
    /// <param name="address">The first row; a multiple of 16 bytes.</param>
    /// <param name="rowBytes">Of a row; a multiple of 16.</param>
    /// <param name="pairs">How many, or how many rows.</param>
    /// <param name="second">Bytes from a pair's first row to its second one; 0 if there are no pairs.</param>
    /// <param name="box">Bytes of a row in a box, a multiple of 16 and 2,048 at most, which may be more than there are, and pairs or rows.</param>
    /// <returns>The description.</returns>
    /// <exception cref="CudaException">The driver refuses it.</exception>
    public static TensorMap OfPairs(nint address, int rowBytes, int pairs, long second, (int Bytes, int Pairs) box)
    {
        const int Eight = sizeof(double);
        uint each = second == 0 ? 1u : 2;
        return Encode(
            DriverInterface.Float64, address, [(ulong)(rowBytes / Eight), each, (ulong)pairs], [second == 0 ? (ulong)rowBytes : (ulong)second, (ulong)rowBytes], [(uint)(box.Bytes / Eight), each, (uint)box.Pairs], 0, 0);
    }

    static unsafe TensorMap Encode(int type, nint address, ReadOnlySpan<ulong> sizes, ReadOnlySpan<ulong> strides, ReadOnlySpan<uint> box, int swizzle, int promotion)
    {
        byte* memory = stackalloc byte[(Words * sizeof(ulong)) + Alignment];
        var map = (TensorMap*)(((nint)memory + Alignment - 1) / Alignment * Alignment);
        uint* steps = stackalloc uint[] { 1, 1, 1 };
        fixed (ulong* size = sizes, stride = strides)
        fixed (uint* first = box)
        {
            Check(DriverInterface.TensorMapEncode(map, type, (uint)sizes.Length, address, size, stride, first, steps, 0, swizzle, promotion, 0),
                $"cuTensorMapEncodeTiled({string.Join(" x ", sizes.ToArray())}, {string.Join(", ", strides.ToArray())} bytes apart)");
        }

        return *map;
    }
}
