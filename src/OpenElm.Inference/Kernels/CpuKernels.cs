using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using OpenElm.Inference.Kernels.Assembled;
using OpenElm.Inference.Kernels.Reference;
using OpenElm.Inference.Kernels.Vectors;
using OpenElm.Inference.Tiles;

namespace OpenElm.Inference.Kernels;

/// <summary>y[t] = x[t] / sqrt(mean(x[t]²) + eps) ⊙ weight, for every row t. x and y may be the same memory.</summary>
/// <param name="x">[rows, width].</param>
/// <param name="weight">[width].</param>
/// <param name="eps">Added to the mean of the squares.</param>
/// <param name="y">[rows, width].</param>
internal delegate void RmsNormKernel(ReadOnlySpan<float> x, ReadOnlySpan<float> weight, float eps, Span<float> y);

/// <summary>
/// y[t, r] = Σ_c x[t, c] · w[r, c] for the rows r of some tiles. The sum of an output begins with 0, or with y itself, and runs
/// along the columns in one order, so an output has the same bits whatever the number of rows and tiles.
/// Integer formats: per block of 32 columns (16 of <see cref="TileFormat.Int6K"/>) the sum of products is an exact integer s, which begins
/// with <see cref="ActivationBlock.Start"/>; then y = fma(s, d · Scale, y), where d is the float scale of the block (d · scale, rounded to
/// a float, of a K format); and where a block has a minimum m, y = fma(m, ScaledSum, y) after that (m = −(dmin · min)).
/// </summary>
/// <param name="weight">The matrix.</param>
/// <param name="firstTile">The first tile.</param>
/// <param name="endTile">Behind the last tile.</param>
/// <param name="x">[rows, columns], in the form that the set wants for the matrix.</param>
/// <param name="rows">Rows of x and y, 1 or more.</param>
/// <param name="y">[rows, 16 · tiles of the whole matrix]; columns of other tiles stay as they are.</param>
/// <param name="yStride">Floats from one row of y to the next.</param>
/// <param name="add">Whether a sum begins with y.</param>
internal unsafe delegate void TileMatMulKernel(in TileMatrix weight, int firstTile, int endTile, in ActivationRows x, int rows, float* y, long yStride, bool add);

/// <summary>
/// y[t, 16 · i + lane] = Σ_k x[t, k] · w[k · wStride + i · tileStride + lane] for tiles i: a product of floats with any strides. Attention is made of
/// it (keys in tiles of 16 positions; values row by row), and so is the product with an F32 matrix. Sums run along k in order, by fused
/// multiply-add, beginning with 0 or with y.
/// </summary>
/// <param name="w">The first vector of 16.</param>
/// <param name="wStride">Floats from k to k + 1.</param>
/// <param name="tileStride">Floats from a tile to the next.</param>
/// <param name="tiles">How many tiles.</param>
/// <param name="x">[rows, length].</param>
/// <param name="xStride">Floats from one row of x to the next.</param>
/// <param name="rows">Rows of x and y.</param>
/// <param name="length">How many k.</param>
/// <param name="y">[rows, 16 · tiles].</param>
/// <param name="yStride">Floats from one row of y to the next.</param>
/// <param name="add">Whether a sum begins with y.</param>
internal unsafe delegate void FloatProductKernel(
    float* w, long wStride, long tileStride, int tiles, float* x, long xStride, int rows, int length, float* y, long yStride, bool add);

/// <summary>
/// y[t, 16 · i + lane] = Σ_p x[t, 2p] · w[p · wStride + i · tileStride + 2 · lane] + x[t, 2p + 1] · w[… + 1]: the same of pairs of bfloat16, with sums in
/// floats. Strides of w and x count bfloat16 numbers.
/// </summary>
/// <inheritdoc cref="FloatProductKernel"/>
internal unsafe delegate void PairProductKernel(
    ushort* w, long wStride, long tileStride, int tiles, ushort* x, long xStride, int rows, int pairs, float* y, long yStride, bool add);

/// <summary>Rotates heads of one position, split-half layout: element k pairs with element k + headDim/2.</summary>
/// <param name="heads">[heads, headDim], changed in place.</param>
/// <param name="cos">[headDim / 2].</param>
/// <param name="sin">[headDim / 2].</param>
internal delegate void RopeKernel(Span<float> heads, ReadOnlySpan<float> cos, ReadOnlySpan<float> sin);

/// <summary>gate = SiLU(gate) ⊙ up, SiLU(z) = z / (1 + e^−z).</summary>
/// <param name="gate">[n], changed in place.</param>
/// <param name="up">[n], or empty for SiLU alone.</param>
internal delegate void SwiGluKernel(Span<float> gate, ReadOnlySpan<float> up);

/// <summary>The products with tiles that a set of kernels has.</summary>
/// <param name="BFloat16Form">What <see cref="TileFormat.BF16"/> is multiplied with: <see cref="ActivationForm.BF16"/> or <see cref="ActivationForm.F32"/>.</param>
/// <param name="MatMul">Products with a matrix of weights.</param>
/// <param name="Floats">Products of floats with any strides.</param>
internal sealed record TileProducts(ActivationForm BFloat16Form, TileMatMulKernel MatMul, FloatProductKernel Floats)
{
    /// <summary>Makes ready what products with a format need, so that the first does not wait for it; may run beside the loading of the weights.</summary>
    public Action<TileFormat> Prepare { get; init; } = static _ => { };

    /// <summary>Products of pairs of bfloat16 with any strides; null where the set has no instruction for them.</summary>
    public PairProductKernel? Pairs { get; init; }

    /// <summary>The form of the activations that this set multiplies with a matrix.</summary>
    /// <param name="format">The matrix' format.</param>
    /// <returns>The form.</returns>
    public ActivationForm FormFor(TileFormat format) =>
        format.IsInteger() ? ActivationForm.Int8 : format == TileFormat.BF16 ? BFloat16Form : ActivationForm.F32;
}

/// <summary>
/// A set of kernels for one kind of processor: the only place that chooses. Each is single-threaded; the model splits
/// products over tiles and attention over heads. Every set passes the same tests against <see cref="ReferenceKernels"/>.
/// </summary>
internal sealed record CpuKernels(
    string Name, TileProducts Products, RmsNormKernel RmsNorm, RopeKernel Rope, SwiGluKernel SwiGlu)
{
    /// <summary>The variable that forces a set by name.</summary>
    public const string EnvironmentVariable = "OPENELM_KERNELS";

    /// <summary>The sets that this machine runs, fastest first.</summary>
    public static IReadOnlyList<CpuKernels> Available { get; } =
    [
        .. AssembledKernels.IsSupported ? [VectorKernels.Set("avx512-vnni", AssembledKernels.Products)] : Array.Empty<CpuKernels>(),
        .. Avx512BW.IsSupported ? [VectorKernels.Set("avx512", VectorKernels.Avx512)] : Array.Empty<CpuKernels>(),
        .. Avx2.IsSupported && Fma.IsSupported ? [VectorKernels.Set("avx2", VectorKernels.Avx2)] : Array.Empty<CpuKernels>(),
        .. Vector128.IsHardwareAccelerated ? [VectorKernels.Set("vector128", VectorKernels.Vector128)] : Array.Empty<CpuKernels>(),
        ReferenceKernels.Set,
    ];

    /// <summary>The set that <see cref="EnvironmentVariable"/> names, or the fastest.</summary>
    /// <exception cref="OpenElmException">The variable names no set of this machine.</exception>
    public static CpuKernels Best => Environment.GetEnvironmentVariable(EnvironmentVariable) is { Length: > 0 } name ? Get(name) : Available[0];

    /// <summary>Finds a set.</summary>
    /// <param name="name">Its name, upper or lower case.</param>
    /// <returns>The set.</returns>
    /// <exception cref="OpenElmException">This machine has none of this name; the message lists all.</exception>
    public static CpuKernels Get(string name) => Available.FirstOrDefault(set => set.Name.Equals(name, StringComparison.OrdinalIgnoreCase))
        ?? throw new OpenElmException($"There are no kernels called {name} on this machine; there are {string.Join(", ", Available.Select(set => set.Name))}.");
}
