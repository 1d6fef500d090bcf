using System.Collections.Immutable;
using System.Numerics;
using System.Runtime.InteropServices;

namespace OpenElm.Adapters;

/// <summary>
/// What adapters do to one weight, row by row and in double precision: the definition that both runtimes are tested against. Each adapter
/// changes the frozen weight W by Δᵢ, and the changes add up: W' = W + Σ Δᵢ (openelm.md 8.2).
/// </summary>
/// <remarks>
/// LoRA: Δ = s·B·A. DoRA: Δ = g ⊙ (W + s·B·A) − W with g = m / ‖W + s·B·A‖ for every row. Embedding: Δ = s·(B·A)ᵀ.
/// So a row of W' is factor · w + Σ_k coefficient_k · basis_k, where the basis is the rows of A (of the embedding: the columns of B).
/// </remarks>
public sealed class LowRankUpdate
{
    readonly ImmutableArray<Term> _terms;

    LowRankUpdate(ImmutableArray<Term> terms) =>
        (_terms, Rank, Rows, Columns) = (terms, terms.Sum(term => term.Rank), terms[0].Rows, terms[0].Columns);

    // One adapter: row r is changed by Scaling · Σ_k Coefficients[r, k] · Basis[k, :].
    sealed record Term(int Rank, int Rows, int Columns, double Scaling, float[] Coefficients, float[] Basis, float[]? Magnitude);

    /// <summary>Ranks of all adapters together.</summary>
    public int Rank { get; }

    /// <summary>Rows of the weight.</summary>
    public int Rows { get; }

    /// <summary>Columns of the weight.</summary>
    public int Columns { get; }

    /// <summary>Whether the factor of a row depends on the weight, as DoRA's does; else it is 1.</summary>
    public bool HasMagnitude => _terms.Any(term => term.Magnitude is not null);

    /// <summary>Takes the adapters of one module.</summary>
    /// <param name="weights">Their tensors and scales, one or more, all of the same module.</param>
    /// <returns>The update.</returns>
    public static LowRankUpdate Of(IReadOnlyList<(AdapterWeights Weights, double Scale)> weights) =>
        new([.. weights.Select(entry => TermOf(entry.Weights, entry.Scale))]);

    /// <summary>Collects what several adapters do, by CoreNet's name of the weight.</summary>
    /// <param name="adapters">The adapters.</param>
    /// <returns>An update for each weight that at least one of them changes.</returns>
    public static ImmutableDictionary<string, Func<LowRankUpdate>> ByWeight(IReadOnlyList<ScaledAdapter> adapters)
    {
        ArgumentNullException.ThrowIfNull(adapters);
        return adapters.SelectMany(adapter => adapter.Adapter.Modules.Select(weights => (weights, adapter.Scale)))
            .GroupBy(entry => entry.weights.Module.WeightName)
            .ToImmutableDictionary(group => group.Key, group => (Func<LowRankUpdate>)(() => Of([.. group])));
    }

    /// <summary>The vectors that all rows share.</summary>
    /// <param name="basis">[Rank, Columns], filled.</param>
    public void CopyBasis(Span<float> basis)
    {
        foreach (Term term in _terms)
        {
            term.Basis.CopyTo(basis);
            basis = basis[term.Basis.Length..];
        }
    }

    /// <summary>What a row of W' is made of: factor · w + Σ_k coefficients[k] · basis[k].</summary>
    /// <param name="row">The row.</param>
    /// <param name="w">[Columns]: the row of W; may be empty without a magnitude.</param>
    /// <param name="coefficients">[Rank], filled.</param>
    /// <returns>The factor.</returns>
    public double Resolve(int row, ReadOnlySpan<double> w, Span<double> coefficients)
    {
        double factor = 1;
        foreach (Term term in _terms)
        {
            Span<double> own = coefficients[..term.Rank];
            coefficients = coefficients[term.Rank..];
            for (int k = 0; k < own.Length; k++)
            {
                own[k] = term.Scaling * term.Coefficients[(row * term.Rank) + k];
            }

            if (term.Magnitude is { } magnitude)
            {
                double gain = magnitude[row] / Math.Sqrt(SquareOfSum(w, own, term.Basis));
                factor += gain - 1;
                foreach (ref double coefficient in own)
                {
                    coefficient *= gain;
                }
            }
        }

        return factor;
    }

    /// <summary>Turns a row of W into that of W'.</summary>
    /// <param name="row">The row.</param>
    /// <param name="w">[Columns], changed in place.</param>
    public void Apply(int row, Span<double> w)
    {
        double[] coefficients = new double[Rank];
        double factor = Resolve(row, w, coefficients);
        if (factor != 1)
        {
            foreach (ref double value in w)
            {
                value *= factor;
            }
        }

        int next = 0;
        foreach (Term term in _terms)
        {
            AddProduct(coefficients.AsSpan(next, term.Rank), term.Basis, w);
            next += term.Rank;
        }
    }

    static Term TermOf(AdapterWeights weights, double scale)
    {
        (AdaptedModule module, int rank) = (weights.Module, weights.Module.Rank);
        (float[] a, float[] b) = (weights.A.ToFloats(), weights.B.ToFloats());
        (int inputs, int outputs) = (checked((int)module.Inputs), checked((int)module.Outputs));
        double scaling = module.Scaling * scale;
        return module.IsEmbedding
            ? new Term(rank, inputs, outputs, scaling, Transpose(a, rank, inputs), Transpose(b, outputs, rank), null) // a row is a token: (B·A)ᵀ
            : new Term(rank, outputs, inputs, scaling, b, a, weights.Magnitude?.ToFloats());
    }

    static float[] Transpose(float[] matrix, int rows, int columns)
    {
        float[] result = new float[matrix.Length];
        for (int row = 0; row < rows; row++)
        {
            for (int column = 0; column < columns; column++)
            {
                result[(column * rows) + row] = matrix[(row * columns) + column];
            }
        }

        return result;
    }

    static double SquareOfSum(ReadOnlySpan<double> w, ReadOnlySpan<double> coefficients, ReadOnlySpan<float> basis)
    {
        double[] sum = w.ToArray();
        AddProduct(coefficients, basis, sum);
        double square = 0;
        foreach (double value in sum)
        {
            square += value * value;
        }

        return square;
    }

    // w += Σ_k coefficients[k] · basis[k]
    static void AddProduct(ReadOnlySpan<double> coefficients, ReadOnlySpan<float> basis, Span<double> w)
    {
        for (int k = 0; k < coefficients.Length; k++)
        {
            ReadOnlySpan<float> vector = basis.Slice(k * w.Length, w.Length);
            double coefficient = coefficients[k];
            int whole = w.Length - (w.Length % Vector<float>.Count);
            Span<Vector<double>> sums = MemoryMarshal.Cast<double, Vector<double>>(w[..whole]);
            ReadOnlySpan<Vector<float>> values = MemoryMarshal.Cast<float, Vector<float>>(vector[..whole]);
            for (int i = 0; i < values.Length; i++)
            {
                Vector.Widen(values[i], out Vector<double> low, out Vector<double> high);
                sums[2 * i] += low * coefficient;
                sums[(2 * i) + 1] += high * coefficient;
            }

            for (int i = whole; i < w.Length; i++)
            {
                w[i] += coefficient * vector[i];
            }
        }
    }
}
