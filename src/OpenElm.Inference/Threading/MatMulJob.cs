using OpenElm.Inference.Kernels;

namespace OpenElm.Inference.Threading;

/// <summary>A matrix product, split over the rows of the matrix.</summary>
/// <param name="kernels">The kernel set.</param>
internal sealed unsafe class MatMulJob(CpuKernels kernels) : SplitJob
{
    // Below this many multiplications, waking a thread costs more than it saves (stories260K: all of its products).
    const long WorthSplitting = 100_000;

    Weight _weight;
    int _firstRow, _rows, _seq;
    float* _x, _y;

    /// <summary>y = x · weightᵀ for some rows of the matrix.</summary>
    /// <param name="team">The threads.</param>
    /// <param name="weight">The matrix.</param>
    /// <param name="firstRow">The first row.</param>
    /// <param name="rows">How many rows.</param>
    /// <param name="x">[seq, columns], memory that does not move.</param>
    /// <param name="seq">Rows of x.</param>
    /// <param name="y">[seq, rows], memory that does not move.</param>
    public void Multiply(ThreadTeam team, Weight weight, int firstRow, int rows, float* x, int seq, float* y)
    {
        (_weight, _firstRow, _rows, _seq) = (weight, firstRow, rows, seq);
        _x = x;
        _y = y;
        team.Run(this, split: (long)rows * weight.Columns * seq >= WorthSplitting);
    }

    /// <inheritdoc/>
    public override void Run(int part, int parts)
    {
        int first = Boundary(part, parts), end = Boundary(part + 1, parts);
        if (first < end)
        {
            kernels.MatMul(
                _weight.RowRange(_firstRow + first, _firstRow + end),
                _weight.Columns,
                new ReadOnlySpan<float>(_x, _seq * _weight.Columns),
                new Span<float>(_y + first, checked((_seq * _rows) - first)),
                _rows);
        }
    }

    // Multiples of 16 rows: whole tiles, and no cache line of y that two threads write.
    int Boundary(int part, int parts) => part == parts ? _rows : (int)((long)_rows * part / parts) & ~15;
}
