using System.Globalization;
using System.Reflection;
using System.Text.RegularExpressions;
using OpenElm.Configuration;
using OpenElm.Cuda;
using static TorchSharp.torch;

namespace OpenElm.Training.Gpu;

/// <summary>Number formats of a pass over the model on the GPU.</summary>
/// <param name="Residual">Weights and residual stream.</param>
/// <param name="Product">Operands and results of matrix products.</param>
/// <param name="Gradient">Gradients of weights.</param>
/// <param name="EightBits">Whether most products read copies in eight bits (<see cref="GpuEightBits"/>).</param>
internal readonly record struct GpuTypes(ScalarType Residual, ScalarType Product, ScalarType Gradient, bool EightBits = false)
{
    /// <summary>The formats of a precision.</summary>
    /// <param name="precision">The precision.</param>
    /// <param name="accumulates">Whether gradients of several micro-batches are summed, which is done in single precision.</param>
    /// <param name="eightBits">Whether most products read copies in eight bits.</param>
    public static GpuTypes Of(Precision precision, bool accumulates, bool eightBits = false)
    {
        ScalarType weight = precision == Precision.Bf16 ? ScalarType.BFloat16 : ScalarType.Float32, product = precision == Precision.Fp32 ? ScalarType.Float32 : ScalarType.BFloat16;
        return new(weight, product, accumulates ? ScalarType.Float32 : weight, eightBits);
    }
}

/// <summary>
/// The steps between matrix products on the GPU: CUDA C++ of this folder's <c>Kernels</c>, compiled for one architecture, one model and one
/// set of number formats, as far as a file depends on them. All of it is put into <see cref="Stream"/>; nothing waits.
/// </summary>
/// <remarks>Parameters are device addresses; their shapes are said beside the kernels.</remarks>
internal sealed class GpuKernels : IDisposable
{
    const int LongestGrid = 65535; // in its second direction

    static readonly string[] Sources = ["rms_norm", "qk_norm_rope", "swiglu", "loss", "embedding", "adamw", "fp8"];

    readonly Dictionary<string, KernelModule> _modules;
    readonly Kernel _normForward, _normBackward, _sumPartials, _rotateForward, _rotateBackward;
    readonly Kernel _swigluForward, _swigluForwardOdd, _swigluBackward, _swigluBackwardOdd;
    readonly Kernel _crossEntropy, _sumLosses, _embeddingForward, _embeddingBackward, _gradientSquares, _clipFactor, _adamW, _eightBitWeight, _nextFactors;
    readonly OpenElmConfig _config;
    readonly float _eps;
    readonly int _multiprocessors;

    /// <summary>Compiles and loads the kernels.</summary>
    /// <exception cref="CudaException">The compiler refuses them.</exception>
    public GpuKernels(CudaDevice device, OpenElmConfig config, GpuTypes types)
    {
        (_config, _eps, _multiprocessors) = (config, (float)config.RmsNormEps, device.Multiprocessors);
        byte[][] compiled = [.. Sources.AsParallel().AsOrdered().Select(name => Compile(name, device.ComputeCapability, config, types))];
        _modules = Sources.Zip(compiled).ToDictionary(pair => pair.First, pair => new KernelModule(pair.Second));
        (_normForward, _normBackward, _sumPartials) = (_modules["rms_norm"]["rms_norm_forward"], _modules["rms_norm"]["rms_norm_backward"], _modules["rms_norm"]["sum_partials"]);
        (_rotateForward, _rotateBackward) = (_modules["qk_norm_rope"]["qk_norm_rope_forward"], _modules["qk_norm_rope"]["qk_norm_rope_backward"]);
        (_swigluForward, _swigluForwardOdd) = (_modules["swiglu"]["swiglu_forward"], _modules["swiglu"]["swiglu_forward_odd"]);
        (_swigluBackward, _swigluBackwardOdd) = (_modules["swiglu"]["swiglu_backward"], _modules["swiglu"]["swiglu_backward_odd"]);
        (_crossEntropy, _sumLosses) = (_modules["loss"]["cross_entropy"], _modules["loss"]["sum_losses"]);
        (_embeddingForward, _embeddingBackward) = (_modules["embedding"]["embedding_forward"], _modules["embedding"]["embedding_backward"]);
        (_gradientSquares, _clipFactor, _adamW) = (_modules["adamw"]["gradient_squares"], _modules["adamw"]["clip_factor"], _modules["adamw"]["adamw"]);
        (_eightBitWeight, _nextFactors) = (_modules["fp8"]["eight_bit_weight"], _modules["fp8"]["next_factors"]);
    }

    /// <summary>The stream of every launch: libtorch's current stream, so that its operators and ours keep their order. That is the default one, but while launches are recorded.</summary>
    public nint Stream { get; set; }

    /// <summary>Floats that the backward kernels need for partial sums.</summary>
    public int PartialFloats => Math.Max(NormBlocks * _config.ModelDim, RotateBlocks * 2 * _config.HeadDim);

    // As many blocks as are on the GPU at once.
    int NormBlocks => 1024 / NormThreads(_config) * _multiprocessors;

    int RotateBlocks => 3 * _multiprocessors;

    /// <summary>Compiles one file; needs no GPU.</summary>
    public static byte[] Compile(string name, int computeCapability, OpenElmConfig config, GpuTypes types)
    {
        string text = Text(name);
        return KernelCompiler.Compile(name, Text("elements") + text, computeCapability, Constants(text, config, types));
    }

    /// <summary>The names of all files.</summary>
    public static IReadOnlyList<string> Names => Sources;

    /// <param name="x">What is normalised.</param>
    /// <param name="weight">The factors.</param>
    /// <param name="y">The result; not written where it has a copy.</param>
    /// <param name="rows">Rows.</param>
    /// <param name="copy">Of the result.</param>
    public void RmsNorm(nint x, nint weight, nint y, int rows, EightBits copy = default) =>
        _normForward.Launch(Stream, (rows, 1), NormThreads(_config), x, weight, y, rows, _eps, copy.Values, copy.State);

    /// <param name="dy">The gradient of the norm's result, overwritten by that result where it is wanted.</param>
    /// <param name="x">What was normalised.</param>
    /// <param name="weight">Its factors.</param>
    /// <param name="residual">The gradient from past the norm; the whole gradient of <paramref name="x"/> on return.</param>
    /// <param name="rounded">The same in the type of products; 0 where that is the type of <paramref name="residual"/>.</param>
    /// <param name="partials">Scratch.</param>
    /// <param name="gradient">Of the factors.</param>
    /// <param name="rows">Rows.</param>
    /// <param name="isFirst">Whether nothing flows past the norm.</param>
    /// <param name="wantsResult">Whether the norm's result is computed again.</param>
    /// <param name="accumulate">Whether <paramref name="gradient"/> is added to.</param>
    /// <param name="copy">Of <paramref name="residual"/> on return.</param>
    public void RmsNormBackward(nint dy, nint x, nint weight, nint residual, nint rounded, nint partials, nint gradient, int rows, bool isFirst, bool wantsResult, bool accumulate, EightBits copy = default)
    {
        int blocks = Math.Min(NormBlocks, rows);
        _normBackward.Launch(Stream, (blocks, 1), NormThreads(_config), dy, x, weight, residual, rounded, partials, rows, _eps, isFirst ? 1 : 0, wantsResult ? 1 : 0, copy.Values, copy.State);
        SumPartials(partials, gradient, blocks, _config.ModelDim, _config.ModelDim, accumulate);
    }

    public void NormAndRotate(nint qkv, nint qWeight, nint kWeight, nint cos, nint sin, nint positions, nint result, int tokens, LayerShape shape) =>
        _rotateForward.Launch(Stream, (Blocks(tokens, 8), 1), 256, qkv, qWeight, kWeight, cos, sin, positions, result, tokens, shape.QueryHeads, shape.KvHeads, _eps);

    public void NormAndRotateBackward(
        nint dq, nint dk, nint dv, nint qkv, nint qWeight, nint kWeight, nint cos, nint sin, nint positions, nint partials, nint qGradient, nint kGradient,
        int tokens, LayerShape shape, bool accumulate, EightBits copy = default)
    {
        int blocks = Math.Min(RotateBlocks, Blocks(tokens, 8)), headDim = _config.HeadDim;
        _rotateBackward.Launch(Stream, (blocks, 1), 256, dq, dk, dv, qkv, qWeight, kWeight, cos, sin, positions, partials, tokens, shape.QueryHeads, shape.KvHeads, _eps, copy.Values, copy.State);
        SumPartials(partials, qGradient, blocks, headDim, 2 * headDim, accumulate);
        SumPartials(partials + (headDim * sizeof(float)), kGradient, blocks, headDim, 2 * headDim, accumulate);
    }

    /// <param name="gateUp">Gates and ups.</param>
    /// <param name="y">The result; not written where it has a copy.</param>
    /// <param name="rows">Rows.</param>
    /// <param name="width">Of the result.</param>
    /// <param name="copy">Of the result.</param>
    public void SwiGlu(nint gateUp, nint y, int rows, int width, EightBits copy = default) =>
        (width % 8 == 0 ? _swigluForward : _swigluForwardOdd).Launch(Stream, Columns(rows, width, copy), 128, gateUp, y, rows, width, copy.Values, copy.State);

    /// <param name="dy">The gradient of the result, overwritten by the result.</param>
    /// <param name="gateUp">What went in, overwritten by its gradient.</param>
    /// <param name="rows">Rows.</param>
    /// <param name="width">Of the result.</param>
    /// <param name="copy">Of the gradient.</param>
    public void SwiGluBackward(nint dy, nint gateUp, int rows, int width, EightBits copy = default) =>
        (width % 8 == 0 ? _swigluBackward : _swigluBackwardOdd).Launch(Stream, Columns(rows, width, copy), 128, dy, gateUp, rows, width, copy.Values, copy.State);

    public void CrossEntropy(nint logits, nint targets, nint entropies, nint zs, int rows, int ignored, nint scales, float zFactor, float smoothing) =>
        _crossEntropy.Launch(Stream, (rows, 1), 512, logits, targets, entropies, zs, ignored, scales, zFactor, smoothing);

    public void SumLosses(nint entropies, nint zs, nint sums, int rows) => _sumLosses.Launch(Stream, (1, 1), 1024, entropies, zs, sums, rows);

    public void LookUp(nint ids, nint weight, nint x, int tokens) => _embeddingForward.Launch(Stream, (tokens, 1), 128, ids, weight, x);

    /// <param name="dx">The gradient of what was looked up.</param>
    /// <param name="order">Tokens by id.</param>
    /// <param name="starts">Where each id's tokens begin there.</param>
    /// <param name="ids">The ids that occur.</param>
    /// <param name="distinct">How many: on the device, so that a recorded launch serves every batch.</param>
    /// <param name="mostDistinct">The most there can be.</param>
    /// <param name="gradient">Of the embedding; added to.</param>
    public void LookUpBackward(nint dx, nint order, nint starts, nint ids, nint distinct, int mostDistinct, nint gradient) =>
        _embeddingBackward.Launch(Stream, (mostDistinct, 1), 128, dx, order, starts, ids, distinct, gradient);

    public void GradientSquares(nint slots, nint chunks, int chunkCount, nint partials) => _gradientSquares.Launch(Stream, (chunkCount, 1), 256, slots, chunks, partials);

    public void ClipFactor(nint partials, int count, float maxNorm, nint result) => _clipFactor.Launch(Stream, (1, 1), 1024, partials, count, maxNorm, result);

    public void AdamW(nint slots, nint chunks, int chunkCount, nint clip, float rate, float beta1, float beta2, float eps, float correction1, float correction2, float t) =>
        _adamW.Launch(Stream, (chunkCount, 1), 256, slots, chunks, clip, rate, beta1, beta2, eps, correction1, correction2, t);

    public void EightBitWeight(nint weight, nint copy, nint transposed, nint state, int rows, int columns) =>
        _eightBitWeight.Launch(Stream, (Blocks(columns, 64), Blocks(rows, 64)), 256, weight, copy, transposed, state, rows, columns);

    public void NextFactors(nint states, int count, int kinds, int gradients) => _nextFactors.Launch(Stream, (Blocks(count, 256), 1), 256, states, count, kinds, gradients);

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (KernelModule module in _modules.Values)
        {
            module.Dispose();
        }
    }

    // Of a block, which has a row of the residual stream: one for each 16 bytes in bfloat16, in whole warps.
    static int NormThreads(OpenElmConfig config) => Math.Min(1024, Blocks(config.ModelDim % 8 == 0 ? config.ModelDim / 8 : config.ModelDim, 32) * 32);

    // Those only that a file names: machine code that does not depend on the rest is compiled once for all models.
    static Dictionary<string, string> Constants(string text, OpenElmConfig config, GpuTypes types)
    {
        static int IsBf16(ScalarType type) => type == ScalarType.BFloat16 ? 1 : 0;
        (string Name, int Value, string Words)[] all =
        [
            ("RESIDUAL_BF16", IsBf16(types.Residual), "RESIDUAL_BF16|R"),
            ("PRODUCT_BF16", IsBf16(types.Product), "PRODUCT_BF16|P"),
            ("GRADIENT_BF16", IsBf16(types.Gradient), "GRADIENT_BF16|G"),
            ("WIDTH", config.ModelDim, "WIDTH"),
            ("NORM_THREADS", NormThreads(config), "NORM_THREADS"),
            ("HEAD_DIM", config.HeadDim, "HEAD_DIM"),
            ("VOCAB", config.VocabSize, "VOCAB"),
        ];
        return all.Where(constant => Regex.IsMatch(text, $@"\b({constant.Words})\b")).Append((Name: "EIGHT_BIT", Value: types.EightBits ? 1 : 0, Words: "")) // "elements" names it
            .ToDictionary(constant => constant.Name, constant => constant.Value.ToString(CultureInfo.InvariantCulture));
    }

    internal static string Text(string name)
    {
        string resource = $"OpenElm.Training.Gpu.Kernels.{name}.cu";
        using System.IO.Stream stream = Assembly.GetExecutingAssembly().GetManifestResourceStream(resource) ?? throw new InvalidOperationException($"{resource} is no resource");
        using var reader = new StreamReader(stream);
        return reader.ReadToEnd();
    }

    void SumPartials(nint partials, nint gradient, int rows, int columns, int stride, bool accumulate) =>
        _sumPartials.Launch(Stream, (Blocks(columns, 32), 1), 1024, partials, gradient, rows, columns, stride, accumulate ? 1 : 0);

    // A block for every row, as far as a grid reaches: so blocks go through memory in order, which is 6 % faster than as many as fit at once, walking along rows. Those are for copies in
    // eight bits, of which every block tells the largest number.
    (int X, int Y) Columns(int rows, int width, EightBits copy)
    {
        int x = Blocks(width, 128 * (width % 8 == 0 ? 8 : 1));
        return (x, Math.Min(rows, copy.Values == 0 ? LongestGrid : Math.Max(1, 16 * _multiprocessors / x)));
    }

    static int Blocks(int items, int each) => (items + each - 1) / each;
}
