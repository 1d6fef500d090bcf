using System.Runtime.CompilerServices;
using OpenElm.Checkpoints;
using OpenElm.Cuda;

namespace OpenElm.Inference.Cuda.Tests;

/// <summary>Tests that launch kernels one by one on memory of their own; skipped where there is no GPU.</summary>
public abstract class KernelTests : IDisposable
{
    readonly CudaStream _stream;
    readonly List<DeviceMemory> _memory = [];

    protected KernelTests()
    {
        Assert.SkipUnless(CudaInferenceDevice.TryOpen(CudaPrecision.Bf16, out string? reason) is not null, $"no GPU here: {reason}");
        _stream = new CudaStream();
    }

    protected nint Stream => _stream.Handle;

    public virtual void Dispose()
    {
        _memory.ForEach(memory => memory.Dispose());
        _stream.Dispose();
        GC.SuppressFinalize(this);
    }

    protected nint Room(long bytes)
    {
        _memory.Add(new DeviceMemory(bytes));
        return _memory[^1].Address;
    }

    protected nint Send<T>(T[] numbers)
        where T : unmanaged
    {
        nint memory = Room((long)numbers.Length * Unsafe.SizeOf<T>());
        CudaDevice.Copy<T>(numbers, memory, Stream);
        return memory;
    }

    protected T[] Fetch<T>(nint at, int count)
        where T : unmanaged
    {
        var numbers = new T[count];
        DeviceMemory.CopyBack(at, numbers, Stream);
        return numbers;
    }

    protected static ushort[] Bits(float[] x) => [.. x.Select(FloatEncoding.ToBFloat16)];

    protected static float[] Widen(IEnumerable<ushort> bits) => [.. bits.Select(b => BitConverter.UInt32BitsToSingle((uint)b << 16))];

    /// <summary>The distance of two vectors, as a share of the first one's norm.</summary>
    protected static double Distance(IReadOnlyList<double> expected, IReadOnlyList<float> actual)
    {
        Assert.Equal(expected.Count, actual.Count);
        return Math.Sqrt(expected.Zip(actual, (e, a) => (e - a) * (e - a)).Sum() / expected.Sum(e => e * e));
    }
}
