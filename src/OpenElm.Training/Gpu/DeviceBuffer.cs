using OpenElm.Training.Torch;
using static TorchSharp.torch;

namespace OpenElm.Training.Gpu;

/// <summary>A contiguous tensor on the GPU and where it lies, for kernels that take addresses.</summary>
internal sealed class DeviceBuffer : IDisposable
{
    public DeviceBuffer(Tensor tensor)
    {
        Tensor = tensor.DetachFromDisposeScope();
        Address = Dispatcher.DataPointer(tensor);
    }

    public Tensor Tensor { get; }

    public nint Address { get; }

    public long Bytes => Tensor.numel() * Tensor.element_size();

    /// <summary>Allocates without setting.</summary>
    public static DeviceBuffer Empty(Device device, ScalarType type, params long[] shape) => new(empty(shape, type, device));

    /// <summary>The first elements of this buffer in another shape.</summary>
    /// <param name="shape">The shape.</param>
    /// <returns>A view, to be disposed; the buffer keeps the memory.</returns>
    public Tensor View(params long[] shape)
    {
        using Tensor flat = Tensor.view(-1);
        using Tensor part = flat.narrow(0, 0, shape.Aggregate(1L, (product, length) => product * length));
        return part.view(shape);
    }

    public void Dispose() => Tensor.Dispose();
}
