using System.Collections.Immutable;
using OpenElm.Configuration;
using OpenElm.Cuda;
using static TorchSharp.torch;

namespace OpenElm.Training.Gpu;

/// <summary>A tensor's copy in eight bits; default where there is none.</summary>
/// <param name="Values">Address of the copy.</param>
/// <param name="State">Address of its factors.</param>
internal readonly record struct EightBits(nint Values, nint State);

/// <summary>What has a copy in eight bits in each layer: operands of products. The order is that of factors in memory.</summary>
internal enum EightBitOperand
{
    AttnNormed,
    FfnNormed,
    SwiGlu,
    FlowBehindFfn,
    GateUpGradient,
    FlowBehindAttention,
    HeadsGradient,
    Qkv,
    Out,
    Proj1,
    Proj2,
}

/// <summary>
/// Copies in eight bits of what most products of a pass read: forward products but attention's last, and gradients of their inputs. Gradients of weights, the head and attention stay in
/// bfloat16. Numbers are stored as e4m3, gradients as e5m2, each tensor with a factor that follows from the largest numbers of earlier updates.
/// </summary>
internal sealed class GpuEightBits : IDisposable
{
    /// <summary>Passes over the first batch that find the first factors.</summary>
    public const int CalibrationPasses = 3;

    const int FloatsOfState = 4;
    const float FirstFactor = 8, FirstGradientFactor = 1 << 14; // for numbers near 1, and for gradients of a mean over some thousand tokens

    static readonly EightBitOperand[] Operands = Enum.GetValues<EightBitOperand>();

    readonly GpuKernels _kernels;
    readonly float[] _firstStates;
    readonly DeviceBuffer _states, _weights, _normed, _flow, _wide;
    readonly ImmutableArray<ImmutableArray<Copy>> _copies;

    readonly record struct Copy(nint Weight, nint Direct, nint Transposed, int Rows, int Columns);

    /// <param name="config">The architecture.</param>
    /// <param name="layers">The layers, whose weights are copied.</param>
    /// <param name="tokens">Tokens of a batch.</param>
    /// <param name="device">The GPU.</param>
    /// <param name="kernels">The kernels.</param>
    public GpuEightBits(OpenElmConfig config, IReadOnlyList<GpuLayer> layers, int tokens, Device device, GpuKernels kernels)
    {
        _kernels = kernels;
        _firstStates = [.. layers.SelectMany(_ => Operands).Select(operand => IsGradient(operand) ? FirstGradientFactor : FirstFactor).SelectMany(factor => (float[])[1 / factor, factor, 0, 0])];
        _states = new DeviceBuffer(tensor(_firstStates, device: device));
        _weights = DeviceBuffer.Empty(device, ScalarType.Byte, config.Layers.Sum(shape => WeightBytes(config, shape)));
        nint next = _weights.Address;
        nint Take(long bytes) => (next += (nint)bytes) - (nint)bytes;

        _copies = [.. layers.Select(layer => ImmutableArray.Create(
            Of(layer.Qkv, QkvWidth(config, layer.Shape), config.ModelDim, isForward: true), Of(layer.Out, config.ModelDim, layer.Shape.QueryHeads * config.HeadDim, isForward: false),
            Of(layer.Proj1, 2 * layer.Shape.FfnDim, config.ModelDim, isForward: true), Of(layer.Proj2, config.ModelDim, layer.Shape.FfnDim, isForward: true)))];
        (_normed, _flow) = (DeviceBuffer.Empty(device, ScalarType.Byte, tokens, config.ModelDim), DeviceBuffer.Empty(device, ScalarType.Byte, tokens, config.ModelDim));
        _wide = DeviceBuffer.Empty(device, ScalarType.Byte, tokens, Wide(config));

        Copy Of(WeightPair weight, int rows, int columns, bool isForward)
        {
            long bytes = (long)rows * columns;
            return new(weight.Value, isForward ? Take(bytes) : 0, Take(bytes), rows, columns);
        }
    }

    /// <summary>Why a model's products cannot read eight bits.</summary>
    /// <param name="config">The architecture.</param>
    /// <param name="computeCapability">Of the GPU.</param>
    /// <returns>The reason in half a sentence; null if they can.</returns>
    public static string? Refusal(OpenElmConfig config, int computeCapability) =>
        computeCapability < 89 ? "this GPU has no products in eight bits"
        : config.ModelDim % 16 != 0 || config.HeadDim % 16 != 0 || config.Layers.Any(layer => layer.FfnDim % 16 != 0) ? "products in eight bits need widths that are multiples of 16"
        : null;

    /// <summary>Bytes of all copies.</summary>
    /// <param name="config">The architecture.</param>
    /// <param name="tokens">Tokens of a batch.</param>
    public static long BytesOf(OpenElmConfig config, long tokens) => config.Layers.Sum(shape => WeightBytes(config, shape)) + (tokens * ((2L * config.ModelDim) + Wide(config)));

    /// <summary>Where an operand of a layer is copied to. Some share memory, because they are never there at the same time.</summary>
    /// <param name="layer">The layer's number.</param>
    /// <param name="operand">Which; no weight.</param>
    public EightBits this[int layer, EightBitOperand operand] => new(
        operand switch
        {
            EightBitOperand.AttnNormed or EightBitOperand.FfnNormed => _normed.Address,
            EightBitOperand.FlowBehindFfn or EightBitOperand.FlowBehindAttention => _flow.Address,
            _ => _wide.Address,
        }, State(layer, operand));

    /// <summary>A weight's copy.</summary>
    /// <param name="layer">The layer's number.</param>
    /// <param name="operand">Which weight.</param>
    /// <param name="transposed">Whether the gradient of the input is computed with it.</param>
    public EightBits Weight(int layer, EightBitOperand operand, bool transposed)
    {
        Copy copy = _copies[layer][operand - EightBitOperand.Qkv];
        return new(transposed ? copy.Transposed : copy.Direct, State(layer, operand));
    }

    /// <summary>Makes the copies of all weights anew.</summary>
    public void CopyWeights()
    {
        for (int layer = 0; layer < _copies.Length; layer++)
        {
            for (int i = 0; i < _copies[layer].Length; i++)
            {
                Copy copy = _copies[layer][i];
                _kernels.EightBitWeight(copy.Weight, copy.Direct, copy.Transposed, State(layer, EightBitOperand.Qkv + i), copy.Rows, copy.Columns);
            }
        }
    }

    /// <summary>Begins anew with factors that suit most models.</summary>
    public void Reset() => CudaDevice.Copy<float>(_firstStates, _states.Address, _kernels.Stream);

    /// <summary>Chooses the factors of the next update.</summary>
    public void NextFactors() => _kernels.NextFactors(
        _states.Address, _copies.Length * Operands.Length, Operands.Length, Operands.Index().Where(entry => IsGradient(entry.Item)).Aggregate(0, (bits, entry) => bits | (1 << entry.Index)));

    /// <summary>Fills all copies but the weights' with numbers of any kind, and makes those of weights: for timing products.</summary>
    public void FillWithAnything()
    {
        CopyWeights();
        foreach (DeviceBuffer buffer in new[] { _normed, _flow, _wide })
        {
            buffer.Tensor.random_(0x38, 0x40); // numbers near 1, with all mantissas
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (DeviceBuffer buffer in new[] { _states, _weights, _normed, _flow, _wide })
        {
            buffer.Dispose();
        }
    }

    static bool IsGradient(EightBitOperand operand) => operand is >= EightBitOperand.FlowBehindFfn and <= EightBitOperand.HeadsGradient;

    static int QkvWidth(OpenElmConfig config, LayerShape shape) => (shape.QueryHeads + (2 * shape.KvHeads)) * config.HeadDim;

    static int Wide(OpenElmConfig config) => config.Layers.Max(shape => Math.Max(2 * shape.FfnDim, QkvWidth(config, shape)));

    static long WeightBytes(OpenElmConfig config, LayerShape shape) =>
        config.ModelDim * ((2L * QkvWidth(config, shape)) + ((long)shape.QueryHeads * config.HeadDim) + (2L * 3 * shape.FfnDim));

    nint State(int layer, EightBitOperand operand) => _states.Address + (((layer * Operands.Length) + (int)operand) * FloatsOfState * sizeof(float));
}
