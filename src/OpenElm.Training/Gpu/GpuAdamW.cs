using System.Runtime.InteropServices;
using OpenElm.Cuda;
using OpenElm.Training.Optimization;
using OpenElm.Training.Torch;
using static TorchSharp.torch;

namespace OpenElm.Training.Gpu;

/// <summary>A range of numbers that AdamW updates: where they and their state lie.</summary>
/// <param name="Copy">The weights as matrix products read them; 0 where they read the single-precision weights.</param>
/// <param name="Master">Single-precision weights.</param>
/// <param name="Average">First moments.</param>
/// <param name="SquareAverage">Second moments.</param>
/// <param name="Gradient">Gradients.</param>
/// <param name="Step">Updates made.</param>
/// <param name="Count">Numbers.</param>
/// <param name="Decays">Whether weights decay.</param>
internal readonly record struct GpuSlot(nint Copy, nint Master, nint Average, nint SquareAverage, nint Gradient, nint Step, long Count, bool Decays);

/// <summary>Clipping and AdamW over the state of an <see cref="AdamW"/>, in three launches for all weights and without waiting for the GPU.</summary>
internal sealed class GpuAdamW : IDisposable
{
    const int Chunk = 8192; // as in adamw.cu

    [StructLayout(LayoutKind.Sequential)]
    record struct SlotAddresses(nint Copy, nint Master, nint Average, nint SquareAverage, nint Gradient, nint Step, long Count, float Decay, int Unused);

    [StructLayout(LayoutKind.Sequential)]
    record struct ChunkOf(int Slot, int First);

    readonly AdamWOptions _options;
    readonly GpuKernels _kernels;
    readonly DeviceBuffer _slots, _chunks, _partials, _clip;
    readonly int _chunkCount;

    /// <param name="optimizer">Whose weights and moments are updated.</param>
    /// <param name="gradients">A gradient for each of its weights.</param>
    /// <param name="copies">Where each weight is also kept as matrix products read it; 0 where they read the single-precision weight.</param>
    /// <param name="kernels">The kernels.</param>
    /// <param name="device">The GPU.</param>
    public GpuAdamW(AdamW optimizer, IReadOnlyList<DeviceBuffer> gradients, IReadOnlyList<nint> copies, GpuKernels kernels, Device device)
        : this(
            [.. optimizer.Slots.Select((slot, i) => new GpuSlot(
                copies[i], Dispatcher.DataPointer(slot.Updated), Dispatcher.DataPointer(slot.Average), Dispatcher.DataPointer(slot.SquareAverage),
                gradients[i].Address, Dispatcher.DataPointer(slot.Step), slot.Weight.numel(), slot.Decays))],
            optimizer.Options, kernels, device)
    {
    }

    /// <param name="ranges">What is updated.</param>
    /// <param name="options">AdamW.</param>
    /// <param name="kernels">The kernels.</param>
    /// <param name="device">The GPU.</param>
    public GpuAdamW(IReadOnlyList<GpuSlot> ranges, AdamWOptions options, GpuKernels kernels, Device device)
    {
        (_options, _kernels) = (options, kernels);
        SlotAddresses[] slots = [.. ranges.Select(range => new SlotAddresses(
            range.Copy, range.Master, range.Average, range.SquareAverage, range.Gradient, range.Step, range.Count, range.Decays ? (float)options.WeightDecay : 0, 0))];
        ChunkOf[] chunks = [.. slots.SelectMany((slot, number) =>
            Enumerable.Range(0, (int)((slot.Count + Chunk - 1) / Chunk)).Select(first => new ChunkOf(number, first)))];
        _chunkCount = chunks.Length;
        _slots = Upload<SlotAddresses>(slots, device, kernels.Stream);
        _chunks = Upload<ChunkOf>(chunks, device, kernels.Stream);
        _partials = DeviceBuffer.Empty(device, ScalarType.Float32, _chunkCount);
        _clip = DeviceBuffer.Empty(device, ScalarType.Float32, 2);
    }

    /// <summary>Bytes of a row of the table that adamw.cu reads.</summary>
    internal static int SlotBytes => Marshal.SizeOf<SlotAddresses>();

    /// <summary>Makes one update.</summary>
    /// <param name="learningRate">The learning rate.</param>
    /// <param name="maxNorm">The bound of the gradients' norm; infinity does not clip.</param>
    /// <param name="update">Its number, from 1.</param>
    /// <param name="sumOverRanks">Adds the others' [1] sum of squares, where gradients are divided among ranks; null where all are here.</param>
    /// <returns>[] the norm before clipping; a copy, to be disposed.</returns>
    public Tensor Step(double learningRate, double maxNorm, long update, Action<Tensor>? sumOverRanks = null)
    {
        (double beta1, double beta2) = (_options.Beta1, _options.Beta2);
        _kernels.GradientSquares(_slots.Address, _chunks.Address, _chunkCount, _partials.Address);
        if (sumOverRanks is null)
        {
            _kernels.ClipFactor(_partials.Address, _chunkCount, (float)maxNorm, _clip.Address);
        }
        else
        {
            using var noGrad = no_grad();
            using Tensor sum = _partials.Tensor.sum(0, keepdim: true);
            sumOverRanks(sum);
            _kernels.ClipFactor(Dispatcher.DataPointer(sum), 1, (float)maxNorm, _clip.Address);
        }

        _kernels.AdamW(_slots.Address, _chunks.Address, _chunkCount, _clip.Address, (float)learningRate, (float)beta1, (float)beta2, (float)_options.Eps,
            (float)(1 - Math.Pow(beta1, update)), (float)Math.Sqrt(1 - Math.Pow(beta2, update)), update);
        using Tensor norm = _clip.Tensor[0];
        return norm.clone();
    }

    public void Dispose()
    {
        foreach (DeviceBuffer buffer in new[] { _slots, _chunks, _partials, _clip })
        {
            buffer.Dispose();
        }
    }

    static DeviceBuffer Upload<T>(T[] values, Device device, nint stream)
        where T : unmanaged
    {
        ReadOnlySpan<byte> bytes = MemoryMarshal.AsBytes(values.AsSpan());
        DeviceBuffer buffer = DeviceBuffer.Empty(device, ScalarType.Byte, bytes.Length);
        CudaDevice.Copy(bytes, buffer.Address, stream);
        return buffer;
    }
}
