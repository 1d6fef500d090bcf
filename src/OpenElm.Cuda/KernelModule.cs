using System.Runtime.CompilerServices;
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

    /// <summary>Copies values to a variable of the module.</summary>
    /// <typeparam name="T">As the kernels declare it.</typeparam>
    /// <param name="name">The name of an <c>extern "C" __constant__</c> or <c>__device__</c> array.</param>
    /// <param name="values">All of its values, or its first ones.</param>
    /// <param name="stream">Where the copy goes.</param>
    /// <exception cref="CudaException">There is none, or it is smaller.</exception>
    public void Fill<T>(string name, ReadOnlySpan<T> values, nint stream)
        where T : unmanaged
    {
        Check(DriverInterface.ModuleGetGlobal(out nint address, out nuint bytes, _module, name), $"cuModuleGetGlobal({name})");
        if ((nuint)(values.Length * Unsafe.SizeOf<T>()) > bytes)
        {
            throw new CudaException($"{name} of a module has {bytes} bytes; {values.Length * Unsafe.SizeOf<T>()} were to be copied there");
        }

        Copy(values, address, stream);
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

    /// <summary>A 32-bit integer: 1 or 0.</summary>
    /// <param name="value">The value.</param>
    public static implicit operator KernelArgument(bool value) => new(value ? 1u : 0u);

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
    public void Launch(nint stream, (int X, int Y) blocks, int threads, params ReadOnlySpan<KernelArgument> arguments) => LaunchShared(stream, blocks, threads, 0, arguments);

    /// <summary>Lets a kernel take more dynamic shared memory than 48 KiB.</summary>
    /// <param name="bytes">The most it is launched with.</param>
    public void ReserveShared(int bytes) => Check(DriverInterface.FunctionSetAttribute(Function, DriverInterface.MaxDynamicSharedSize, bytes));

    /// <summary>Puts a launch with dynamic shared memory into a stream.</summary>
    /// <param name="stream">The stream.</param>
    /// <param name="blocks">Blocks along x and y.</param>
    /// <param name="threads">Threads of a block.</param>
    /// <param name="sharedBytes">Dynamic shared memory of a block.</param>
    /// <param name="arguments">As the kernel declares them.</param>
    public void LaunchShared(nint stream, (int X, int Y) blocks, int threads, int sharedBytes, params ReadOnlySpan<KernelArgument> arguments) =>
        LaunchShared(stream, (blocks.X, blocks.Y, 1), threads, sharedBytes, arguments);

    /// <summary>Puts a launch with dynamic shared memory into a stream.</summary>
    /// <param name="stream">The stream.</param>
    /// <param name="blocks">Blocks along x, y and z.</param>
    /// <param name="threads">Threads of a block.</param>
    /// <param name="sharedBytes">Dynamic shared memory of a block.</param>
    /// <param name="arguments">As the kernel declares them.</param>
    public unsafe void LaunchShared(nint stream, (int X, int Y, int Z) blocks, int threads, int sharedBytes, params ReadOnlySpan<KernelArgument> arguments)
    {
        void** pointers = stackalloc void*[arguments.Length];
        fixed (KernelArgument* first = arguments)
        {
            Point(pointers, first, arguments.Length);

            Check(DriverInterface.LaunchKernel(Function, (uint)blocks.X, (uint)blocks.Y, (uint)blocks.Z, (uint)threads, 1, 1, (uint)sharedBytes, stream, pointers, null));
        }
    }

    /// <summary>Puts a launch into a stream whose first argument is a structure.</summary>
    /// <param name="stream">The stream.</param>
    /// <param name="blocks">Blocks.</param>
    /// <param name="threads">Threads of a block.</param>
    /// <param name="sharedBytes">Dynamic shared memory of a block.</param>
    /// <typeparam name="T">Of the first argument: a structure laid out as the kernel's.</typeparam>
    /// <param name="structure">The first argument, by value.</param>
    /// <param name="arguments">The others, as the kernel declares them.</param>
    public void LaunchShared<T>(nint stream, int blocks, int threads, int sharedBytes, in T structure, params ReadOnlySpan<KernelArgument> arguments)
        where T : unmanaged =>
        Launch(stream, blocks, threads, sharedBytes, structure, arguments, together: false);

    /// <summary>
    /// Puts a launch into a stream that may begin before the kernel in front of it is done, as soon as all of that one's blocks allow it
    /// (<c>griddepcontrol.launch_dependents</c>). Every thread must wait (<c>griddepcontrol.wait</c>) before it touches what earlier kernels write or read.
    /// </summary>
    /// <param name="stream">The stream.</param>
    /// <param name="blocks">Blocks along x, y and z.</param>
    /// <param name="threads">Threads of a block.</param>
    /// <param name="sharedBytes">Dynamic shared memory of a block.</param>
    /// <param name="arguments">As the kernel declares them.</param>
    public unsafe void LaunchEarly(nint stream, (int X, int Y, int Z) blocks, int threads, int sharedBytes, params ReadOnlySpan<KernelArgument> arguments)
    {
        void** pointers = stackalloc void*[arguments.Length];
        fixed (KernelArgument* first = arguments)
        {
            Point(pointers, first, arguments.Length);

            var early = new LaunchAttribute { Id = LaunchAttribute.MayBeginEarly, Value = 1 };
            var settings = new LaunchSettings
            {
                GridX = (uint)blocks.X,
                GridY = (uint)blocks.Y,
                GridZ = (uint)blocks.Z,
                BlockX = (uint)threads,
                BlockY = 1,
                BlockZ = 1,
                SharedBytes = (uint)sharedBytes,
                Stream = stream,
                Attributes = &early,
                AttributeCount = 1,
            };
            Check(DriverInterface.LaunchKernelWith(&settings, Function, pointers, null));
        }
    }

    /// <summary>Puts a launch into a stream whose blocks are all on the device at once, so that they may wait for each other.</summary>
    /// <param name="stream">The stream.</param>
    /// <param name="blocks">Blocks; no more than fit the device at once.</param>
    /// <param name="threads">Threads of a block.</param>
    /// <param name="sharedBytes">Dynamic shared memory of a block.</param>
    /// <typeparam name="T">Of the first argument: a structure laid out as the kernel's.</typeparam>
    /// <param name="structure">The first argument, by value.</param>
    /// <param name="arguments">The others, as the kernel declares them.</param>
    public void LaunchTogether<T>(nint stream, int blocks, int threads, int sharedBytes, in T structure, params ReadOnlySpan<KernelArgument> arguments)
        where T : unmanaged =>
        Launch(stream, blocks, threads, sharedBytes, structure, arguments, together: true);

    unsafe void Launch<T>(nint stream, int blocks, int threads, int sharedBytes, in T structure, ReadOnlySpan<KernelArgument> arguments, bool together)
        where T : unmanaged
    {
        void** pointers = stackalloc void*[arguments.Length + 1];
        fixed (T* value = &structure)
        fixed (KernelArgument* first = arguments)
        {
            pointers[0] = value;
            Point(pointers + 1, first, arguments.Length);
            Check(together
                ? DriverInterface.LaunchCooperativeKernel(Function, (uint)blocks, 1, 1, (uint)threads, 1, 1, (uint)sharedBytes, stream, pointers)
                : DriverInterface.LaunchKernel(Function, (uint)blocks, 1, 1, (uint)threads, 1, 1, (uint)sharedBytes, stream, pointers, null));
        }
    }

    static unsafe void Point(void** pointers, KernelArgument* first, int count)
    {
        for (int i = 0; i < count; i++)
        {
            pointers[i] = first + i;
        }
    }
}
