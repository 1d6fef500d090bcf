using OpenElm.Adapters;
using OpenElm.Checkpoints;
using OpenElm.Inference.Memory;
using OpenElm.Inference.Tiles;

namespace OpenElm.Inference.Adapters;

/// <summary>
/// What adapters change in a matrix product: y = factor ⊙ (W x) + B·(A·x) (<see cref="LowRankUpdate"/>). W stays as it is stored, quantised or not; A
/// and B are tiles of floats for the same kernels, all adapters side by side. B holds scales and gains already.
/// </summary>
internal sealed class AdapterTiles : IDisposable
{
    readonly NativeFloats _a, _b;

    AdapterTiles(NativeFloats a, TileMatrix tilesOfA, NativeFloats b, TileMatrix tilesOfB, NativeFloats? factor) =>
        (_a, A, _b, B, Factor) = (a, tilesOfA, b, tilesOfB, factor);

    /// <summary>[rank, columns].</summary>
    public TileMatrix A { get; }

    /// <summary>[rows, rank].</summary>
    public TileMatrix B { get; }

    /// <summary>[rows]: what W x is multiplied with; null where that is 1, as without DoRA.</summary>
    public NativeFloats? Factor { get; }

    /// <summary>Ranks of all adapters together.</summary>
    public int Rank => A.Rows;

    /// <summary>Computes factors and coefficients of some rows, by all processors, and packs the tiles.</summary>
    /// <param name="update">What the adapters do to the weight.</param>
    /// <param name="weight">The weight.</param>
    /// <param name="firstRow">The row that becomes row 0 of the product.</param>
    /// <param name="rows">How many rows.</param>
    /// <returns>The tiles.</returns>
    public static AdapterTiles Of(LowRankUpdate update, StoredWeight weight, int firstRow, int rows)
    {
        (int rank, int columns) = (update.Rank, update.Columns);
        using var basis = new NativeFloats((long)rank * columns);
        using var coefficients = new NativeFloats((long)rows * rank);
        var factor = update.HasMagnitude ? new NativeFloats(rows) : null;
        update.CopyBasis(basis.Values);
        Parallel.For(0, rows, row =>
        {
            double[] own = new double[rank];
            double[] w = update.HasMagnitude ? Row(weight, firstRow + row, columns) : [];
            double gain = update.Resolve(firstRow + row, w, own);
            Span<float> to = coefficients.Slice((long)row * rank, rank);
            for (int k = 0; k < rank; k++)
            {
                to[k] = (float)own[k];
            }

            if (factor is not null)
            {
                factor.Values[row] = (float)gain;
            }
        });
        (NativeFloats a, TileMatrix tilesOfA) = Pack(basis, rank, columns);
        (NativeFloats b, TileMatrix tilesOfB) = Pack(coefficients, rows, rank);
        return new AdapterTiles(a, tilesOfA, b, tilesOfB, factor);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _a.Dispose();
        _b.Dispose();
        Factor?.Dispose();
    }

    static double[] Row(StoredWeight weight, int row, int columns)
    {
        float[] floats = new float[columns];
        weight.CopyRowsTo(row, 1, floats);
        return Array.ConvertAll(floats, value => (double)value);
    }

    static (NativeFloats Memory, TileMatrix Matrix) Pack(NativeFloats floats, int rows, int columns)
    {
        var matrix = new TileMatrix(TileFormat.F32, rows, columns, 0);
        var memory = new NativeFloats(matrix.Bytes / sizeof(float));
        unsafe
        {
            matrix = matrix with { Address = (nint)memory.Pointer };
        }

        for (int tile = 0; tile < matrix.Tiles; tile++)
        {
            TilePacking.Pack(floats.AsTensor("adapter", [rows, columns]), 0, matrix, tile);
        }

        return (memory, matrix);
    }
}
