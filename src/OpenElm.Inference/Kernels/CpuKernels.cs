using OpenElm.Inference.Kernels.Reference;
using OpenElm.Inference.Kernels.Simd;

namespace OpenElm.Inference.Kernels;

/// <summary>y[t] = x[t] / sqrt(mean(x[t]²) + eps) ⊙ weight, for every row t. x and y may be the same memory.</summary>
/// <param name="x">[rows, width].</param>
/// <param name="weight">[width].</param>
/// <param name="eps">Added to the mean of the squares.</param>
/// <param name="y">[rows, width].</param>
internal delegate void RmsNormKernel(ReadOnlySpan<float> x, ReadOnlySpan<float> weight, float eps, Span<float> y);

/// <summary>y[t, r] = Σ_c weight[r, c] · x[t, c]: rows of a matrix that is stored [out, in] times rows of activations.</summary>
/// <param name="weight">[rows, inDim]: some rows of the matrix.</param>
/// <param name="inDim">Width of both operands.</param>
/// <param name="x">[seq, inDim].</param>
/// <param name="y">Row t begins at t · yStride and takes [rows] results.</param>
/// <param name="yStride">Distance of the rows of y: the whole matrix may have more rows than these.</param>
internal delegate void MatMulKernel(ReadOnlySpan<float> weight, int inDim, ReadOnlySpan<float> x, Span<float> y, int yStride);

/// <summary>Rotates heads of one position, split-half layout: element k pairs with element k + headDim/2.</summary>
/// <param name="heads">[heads, headDim], changed in place.</param>
/// <param name="cos">[headDim / 2].</param>
/// <param name="sin">[headDim / 2].</param>
internal delegate void RopeKernel(Span<float> heads, ReadOnlySpan<float> cos, ReadOnlySpan<float> sin);

/// <summary>y = softmax(q · keysᵀ / √headDim) · values, for one query head and the positions it sees.</summary>
/// <param name="query">[headDim].</param>
/// <param name="keys">[positions, headDim].</param>
/// <param name="values">[positions, headDim].</param>
/// <param name="scores">[positions], scratch.</param>
/// <param name="y">[headDim].</param>
internal delegate void AttentionKernel(ReadOnlySpan<float> query, ReadOnlySpan<float> keys, ReadOnlySpan<float> values, Span<float> scores, Span<float> y);

/// <summary>gate = SiLU(gate) ⊙ up, SiLU(z) = z / (1 + e^−z).</summary>
/// <param name="gate">[n], changed in place.</param>
/// <param name="up">[n], or empty for SiLU alone.</param>
internal delegate void SwiGluKernel(Span<float> gate, ReadOnlySpan<float> up);

/// <summary>x = x + y.</summary>
/// <param name="x">[n], changed in place.</param>
/// <param name="y">[n].</param>
internal delegate void AddKernel(Span<float> x, ReadOnlySpan<float> y);

/// <summary>
/// A set of kernels for one kind of processor: the only place that chooses. Each is single-threaded; the model splits
/// products over rows and attention over heads. Every set passes the same tests against <see cref="ReferenceKernels"/>.
/// </summary>
internal sealed record CpuKernels(
    string Name, RmsNormKernel RmsNorm, MatMulKernel MatMul, RopeKernel Rope, AttentionKernel Attention, SwiGluKernel SwiGlu, AddKernel Add)
{
    /// <summary>The variable that forces a set by name.</summary>
    public const string EnvironmentVariable = "OPENELM_KERNELS";

    /// <summary>The sets that this machine runs, fastest first.</summary>
    public static IReadOnlyList<CpuKernels> Available { get; } = [SimdKernels.Set, ReferenceKernels.Set];

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
