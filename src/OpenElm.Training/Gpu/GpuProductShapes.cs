using OpenElm.Configuration;
using OpenElm.Cuda;
using static TorchSharp.torch;

namespace OpenElm.Training.Gpu;

/// <summary>The kinds of matrix products of a pass.</summary>
/// <param name="config">The architecture.</param>
/// <param name="types">Number formats.</param>
/// <param name="tokens">Tokens of a batch.</param>
internal sealed class GpuProductShapes(OpenElmConfig config, GpuTypes types, int tokens)
{
    readonly MatrixType _product = TypeOf(types.Product), _residual = TypeOf(types.Residual), _gradient = TypeOf(types.Gradient);

    /// <summary>y = x · Wᵀ for a weight [outputs, inputs].</summary>
    public ProductShape Forward(int outputs, int inputs) => new(tokens, outputs, inputs, TransposeA: false, TransposeB: true, _product, _product);

    /// <summary>The residual stream behind a branch: x + y · Wᵀ.</summary>
    public ProductShape Adding(int inputs) => new(tokens, config.ModelDim, inputs, TransposeA: false, TransposeB: true, _product, _residual, Addend: 1);

    /// <summary>dx = dy · W.</summary>
    public ProductShape Backward(int outputs, int inputs) => new(tokens, inputs, outputs, TransposeA: false, TransposeB: false, _product, _product);

    /// <summary>The same product of copies in eight bits: of numbers forward, of gradients and transposed weights backward.</summary>
    public static ProductShape OfEightBits(in ProductShape shape) =>
        shape with { Inputs = shape.TransposeB ? MatrixType.Fp8 : MatrixType.Fp8Gradient, TransposeB = true };

    /// <summary>dW = dyᵀ · x.</summary>
    public ProductShape Weight(int outputs, int inputs, bool accumulate) => new(outputs, inputs, tokens, TransposeA: true, TransposeB: false, _product, _gradient, accumulate ? 1 : 0);

    /// <summary>Logits of some rows.</summary>
    public ProductShape Logits(int rows) => new(rows, config.VocabSize, config.ModelDim, TransposeA: false, TransposeB: true, _product, _product);

    /// <summary>The gradient of what the head reads.</summary>
    public ProductShape Hidden(int rows) => new(rows, config.ModelDim, config.VocabSize, TransposeA: false, TransposeB: false, _product, _product);

    /// <summary>The gradient of the head.</summary>
    public ProductShape HeadWeight(int rows, bool accumulate) => new(config.VocabSize, config.ModelDim, rows, TransposeA: true, TransposeB: false, _product, _gradient, accumulate ? 1 : 0);

    /// <summary>Columns of the first product of attention.</summary>
    public int QkvWidth(LayerShape shape) => (shape.QueryHeads + (2 * shape.KvHeads)) * config.HeadDim;

    /// <summary>Columns of what attention gives.</summary>
    public int QueryWidth(LayerShape shape) => shape.QueryHeads * config.HeadDim;

    static MatrixType TypeOf(ScalarType type) => type == ScalarType.BFloat16 ? MatrixType.Bf16 : MatrixType.Fp32;
}
