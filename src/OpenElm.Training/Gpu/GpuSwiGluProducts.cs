using OpenElm.Configuration;
using OpenElm.Cuda;
using static TorchSharp.torch;

namespace OpenElm.Training.Gpu;

/// <summary>
/// The two products of a feed-forward network that meet SwiGLU, with SwiGLU in their last step (Kernels/swiglu_product.cu): what <see cref="GpuKernels.SwiGlu"/> and <see cref="GpuKernels.SwiGluBackward"/>
/// read and write besides is then neither written nor read. The pass uses each for the widths at which it is faster.
/// </summary>
internal sealed class GpuSwiGluProducts : IDisposable
{
    /// <summary>What addresses of matrices are multiples of.</summary>
    public const int Alignment = 16;

    const int Hopper = 90, Threads = 384, BlockRows = 128, BoxRows = 16, Step = 64;
    const int RingBytes = 4 * 3 * BlockRows * Step * 2, BoxesBytes = 8 * 2 * BoxRows * 64 * 2, ArrivalsBytes = 2 * 4 * sizeof(long), AlignmentBytes = 1024;
    const int ForwardBytes = AlignmentBytes + RingBytes + BoxesBytes + ArrivalsBytes, BackwardBytes = AlignmentBytes + RingBytes + ArrivalsBytes;

    readonly KernelModule _forwardModule, _backwardModule;
    readonly Kernel _forward, _backward;
    readonly int _blocks;

    // As the kernel declares them.
    readonly record struct Maps(TensorMap X, TensorMap Weight, TensorMap Gate, TensorMap Up, TensorMap Y, TensorMap GateTile, TensorMap UpTile);

    /// <summary>Compiles and loads the kernels.</summary>
    /// <exception cref="CudaException">The compiler refuses them.</exception>
    public GpuSwiGluProducts(CudaDevice device)
    {
        byte[][] compiled = [.. ParallelEnumerable.Range(0, 2).AsOrdered().Select(i => Compile(device.ComputeCapability, isBackward: i == 1))];
        (_forwardModule, _backwardModule) = (new(compiled[0]), new(compiled[1]));
        (_forward, _backward) = (_forwardModule["swiglu_product"], _backwardModule["swiglu_product"]);
        _forward.ReserveShared(ForwardBytes);
        _backward.ReserveShared(BackwardBytes);
        _blocks = device.Multiprocessors / 2 * 2; // they work in pairs
    }

    /// <summary>Why a model's feed-forward networks cannot use them.</summary>
    /// <param name="config">The architecture.</param>
    /// <param name="computeCapability">Of the GPU.</param>
    /// <param name="types">Number formats.</param>
    /// <returns>The reason in half a sentence; null if they can.</returns>
    public static string? Refusal(OpenElmConfig config, int computeCapability, GpuTypes types) =>
        computeCapability != Hopper ? "they are written for Hopper's instructions"
        : types.EightBits ? "products read eight bits"
        : types.Product != ScalarType.BFloat16 ? "products are not in bfloat16"
        : config.ModelDim % 8 != 0 || config.Layers.Any(layer => layer.FfnDim % 8 != 0) ? "they need widths that are multiples of 8"
        : null;

    /// <summary>Compiles one of them, the same for every model; needs no GPU.</summary>
    public static byte[] Compile(int computeCapability, bool isBackward)
    {
        Dictionary<string, string> constants = new() { ["BACKWARD"] = isBackward ? "1" : "0", ["EIGHT_BIT"] = "0" };
        return KernelCompiler.Compile("swiglu_product", GpuKernels.Text("elements") + GpuKernels.Text("hopper") + GpuKernels.Text("swiglu_product"), computeCapability, constants);
    }

    /// <summary>Gates and ups of a layer, and SwiGLU of them.</summary>
    /// <param name="x">[rows, inner].</param>
    /// <param name="weight">[2 · width, inner].</param>
    /// <param name="gateUp">[rows, 2 · width], written.</param>
    /// <param name="y">[rows, width], written.</param>
    /// <param name="size">Rows, the width of the result, and that of <paramref name="x"/>.</param>
    /// <param name="stream">The stream.</param>
    public void Forward(nint x, nint weight, nint gateUp, nint y, (int Rows, int Width, int Inner) size, nint stream)
    {
        TensorMap map = TensorMap.Of(weight, (2 * size.Width, size.Inner), size.Inner, BlockRows);
        _forward.LaunchShared(stream, _blocks, Threads, ForwardBytes, MapsOf(x, map, gateUp, y, size), size.Rows, size.Width, size.Inner);
    }

    /// <summary>The gradients of a layer's gates and ups from that behind its feed-forward network, and SwiGLU again.</summary>
    /// <param name="dx">[rows, inner]: the gradient behind the network.</param>
    /// <param name="weight">[inner, width].</param>
    /// <param name="gateUp">[rows, 2 · width], overwritten by its gradient.</param>
    /// <param name="y">[rows, width], written: the result of SwiGLU.</param>
    /// <param name="size">Rows, the width of the result, and that of <paramref name="dx"/>.</param>
    /// <param name="stream">The stream.</param>
    public void Backward(nint dx, nint weight, nint gateUp, nint y, (int Rows, int Width, int Inner) size, nint stream)
    {
        TensorMap map = TensorMap.Of(weight, (size.Inner, size.Width), size.Width, Step);
        _backward.LaunchShared(stream, _blocks, Threads, BackwardBytes, MapsOf(dx, map, gateUp, y, size), size.Rows, size.Width, size.Inner);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _forwardModule.Dispose();
        _backwardModule.Dispose();
    }

    static Maps MapsOf(nint x, in TensorMap weight, nint gateUp, nint y, (int Rows, int Width, int Inner) size)
    {
        (int rows, int width, int inner) = size;
        TensorMap Half(bool isUp, int boxRows) => TensorMap.Of(gateUp + (isUp ? width * 2 : 0), (rows, width), 2 * width, boxRows); // so that no box of gates reaches into ups

        return new(
            TensorMap.Of(x, (rows, inner), inner, BlockRows), weight, Half(isUp: false, BoxRows), Half(isUp: true, BoxRows), TensorMap.Of(y, (rows, width), width, BoxRows),
            Half(isUp: false, BlockRows), Half(isUp: true, BlockRows));
    }
}
