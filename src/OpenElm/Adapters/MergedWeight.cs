using OpenElm.Checkpoints;

namespace OpenElm.Adapters;

/// <summary>Writes one weight with its update: some rows at a time, which all processors share.</summary>
/// <param name="weight">The base weight.</param>
/// <param name="update">What adapters do to it.</param>
/// <param name="dtype">F32, BF16, F16 or F64.</param>
/// <param name="cancellation">Stops between two pieces.</param>
internal sealed class MergedWeight(StoredWeight weight, LowRankUpdate update, DType dtype, CancellationToken cancellation)
{
    const int FloatsAtATime = 1 << 22;

    readonly int _columns = checked((int)weight.Shape[1]);

    /// <summary>Writes all rows.</summary>
    /// <param name="stream">Where to.</param>
    /// <exception cref="OpenElmException">A merged number is not finite, or too large for the type.</exception>
    public void WriteTo(Stream stream)
    {
        int rows = checked((int)weight.Shape[0]), rowsAtATime = Math.Clamp(FloatsAtATime / _columns, 1, rows);
        float[] values = new float[checked(rowsAtATime * _columns)];
        for (int first = 0; first < rows; first += rowsAtATime)
        {
            cancellation.ThrowIfCancellationRequested();
            int count = Math.Min(rowsAtATime, rows - first);
            weight.CopyRowsTo(first, count, values.AsSpan(0, count * _columns));
            Parallel.For(0, count, row => Merge(first + row, values.AsSpan(row * _columns, _columns)));
            ReadOnlySpan<float> merged = values.AsSpan(0, count * _columns);
            RequireFinite(merged, first);
            FloatEncoding.RequireRange(merged, dtype, weight.Name);
            stream.Write(FloatEncoding.Encode(merged, dtype));
        }
    }

    void Merge(int row, Span<float> values)
    {
        double[] w = new double[values.Length];
        for (int i = 0; i < w.Length; i++)
        {
            w[i] = values[i];
        }

        update.Apply(row, w);
        for (int i = 0; i < w.Length; i++)
        {
            values[i] = (float)w[i];
        }
    }

    void RequireFinite(ReadOnlySpan<float> merged, int firstRow)
    {
        for (int i = 0; i < merged.Length; i++)
        {
            if (!float.IsFinite(merged[i]))
            {
                throw new OpenElmException(
                    $"{weight.Name} merged is not finite (row {firstRow + (i / _columns)}, column {i % _columns}: {merged[i]}); the adapter or the model is damaged, or the scale too large.");
            }
        }
    }
}
