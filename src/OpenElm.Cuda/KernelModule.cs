using static OpenElm.Cuda.CudaDevice;

namespace OpenElm.Cuda;

/// <summary>Compiled kernels of one source file, loaded into the current context.</summary>
public sealed class KernelModule : IDisposable
{
    readonly nint _module;

    /// <summary>Loads machine code.</summary>
    /// <param name="cubin">From <see cref="KernelCompiler"/>.</param>
    /// <exception cref="CudaException">It is for another architecture.</exception>
    public unsafe KernelModule(ReadOnlySpan<byte> cubin)
    {
        fixed (byte* image = cubin)
        {
            Check(DriverInterface.ModuleLoadData(out _module, image));
        }
    }

    /// <summary>Finds a kernel.</summary>
    /// <param name="name">The name of an <c>extern "C" __global__</c> function.</param>
    /// <returns>The kernel.</returns>
    public Kernel this[string name]
    {
        get
        {
            Check(DriverInterface.ModuleGetFunction(out nint function, _module, name), $"cuModuleGetFunction({name})");
            return new Kernel(function);
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _ = DriverInterface.ModuleUnload(_module);
}

/// <summary>One argument of a kernel: a device pointer, an integer or a float, by value.</summary>
public readonly struct KernelArgument
{
    readonly ulong _bits;

    KernelArgument(ulong bits) => _bits = bits;

    /// <summary>A device pointer.</summary>
    /// <param name="address">The address.</param>
    public static implicit operator KernelArgument(nint address) => new((ulong)address);

    /// <summary>A 32-bit integer.</summary>
    /// <param name="value">The value.</param>
    public static implicit operator KernelArgument(int value) => new((uint)value);

    /// <summary>A float.</summary>
    /// <param name="value">The value.</param>
    public static implicit operator KernelArgument(float value) => new(BitConverter.SingleToUInt32Bits(value));
}

/// <summary>A kernel that can be launched.</summary>
/// <param name="Function">The driver's handle.</param>
public readonly record struct Kernel(nint Function)
{
    /// <summary>Puts a launch into a stream.</summary>
    /// <param name="stream">The stream.</param>
    /// <param name="blocks">Blocks along x and y.</param>
    /// <param name="threads">Threads of a block.</param>
    /// <param name="arguments">As the kernel declares them.</param>
    public unsafe void Launch(nint stream, (int X, int Y) blocks, int threads, params ReadOnlySpan<KernelArgument> arguments)
    {
        void** pointers = stackalloc void*[arguments.Length];
        fixed (KernelArgument* first = arguments)
        {
            for (int i = 0; i < arguments.Length; i++)
            {
                pointers[i] = first + i;
            }

            Check(DriverInterface.LaunchKernel(Function, (uint)blocks.X, (uint)blocks.Y, 1, (uint)threads, 1, 1, 0, stream, pointers, null));
        }
    }
}
