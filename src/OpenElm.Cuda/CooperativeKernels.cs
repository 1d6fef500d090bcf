using static OpenElm.Cuda.CudaDevice;

namespace OpenElm.Cuda;

/// <summary>Kernels with shared memory of a size known at run time, and kernels whose blocks wait for each other.</summary>
public static class CooperativeKernels
{
    /// <summary>Lets a kernel take more dynamic shared memory than 48 KiB.</summary>
    /// <param name="kernel">The kernel.</param>
    /// <param name="bytes">The most it is launched with.</param>
    public static void ReserveShared(this Kernel kernel, int bytes) => Check(DriverInterface.FunctionSetAttribute(kernel.Function, DriverInterface.MaxDynamicSharedSize, bytes));

    /// <summary>Puts a launch with dynamic shared memory into a stream.</summary>
    /// <param name="kernel">The kernel.</param>
    /// <param name="stream">The stream.</param>
    /// <param name="blocks">Blocks along x and y.</param>
    /// <param name="threads">Threads of a block.</param>
    /// <param name="sharedBytes">Dynamic shared memory of a block.</param>
    /// <param name="arguments">As the kernel declares them.</param>
    public static unsafe void LaunchShared(this Kernel kernel, nint stream, (int X, int Y) blocks, int threads, int sharedBytes, params ReadOnlySpan<KernelArgument> arguments)
    {
        void** pointers = stackalloc void*[arguments.Length];
        fixed (KernelArgument* first = arguments)
        {
            for (int i = 0; i < arguments.Length; i++)
            {
                pointers[i] = first + i;
            }

            Check(DriverInterface.LaunchKernel(kernel.Function, (uint)blocks.X, (uint)blocks.Y, 1, (uint)threads, 1, 1, (uint)sharedBytes, stream, pointers, null));
        }
    }

    /// <summary>Puts a launch into a stream whose blocks are all on the device at once, so that they may wait for each other.</summary>
    /// <param name="kernel">The kernel.</param>
    /// <param name="stream">The stream.</param>
    /// <param name="blocks">Blocks; no more than fit the device at once.</param>
    /// <param name="threads">Threads of a block.</param>
    /// <param name="sharedBytes">Dynamic shared memory of a block.</param>
    /// <typeparam name="T">Of the first argument: a structure laid out as the kernel's.</typeparam>
    /// <param name="structure">The first argument, by value.</param>
    /// <param name="arguments">The others, as the kernel declares them.</param>
    public static unsafe void LaunchTogether<T>(this Kernel kernel, nint stream, int blocks, int threads, int sharedBytes, in T structure, params ReadOnlySpan<KernelArgument> arguments)
        where T : unmanaged
    {
        void** pointers = stackalloc void*[arguments.Length + 1];
        fixed (T* value = &structure)
        fixed (KernelArgument* first = arguments)
        {
            pointers[0] = value;
            for (int i = 0; i < arguments.Length; i++)
            {
                pointers[i + 1] = first + i;
            }

            Check(DriverInterface.LaunchCooperativeKernel(kernel.Function, (uint)blocks, 1, 1, (uint)threads, 1, 1, (uint)sharedBytes, stream, pointers));
        }
    }
}
