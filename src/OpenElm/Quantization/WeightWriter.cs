using System.Buffers;
using OpenElm.Checkpoints;

namespace OpenElm.Quantization;

/// <summary>Writes one weight in another type: some rows at a time, which all processors share.</summary>
/// <param name="weight">The weight.</param>
/// <param name="dtype">The type to write.</param>
/// <param name="importance">[columns], or empty.</param>
/// <param name="cancellation">Stops between two pieces.</param>
internal sealed class WeightWriter(StoredWeight weight, DType dtype, ReadOnlyMemory<float> importance, CancellationToken cancellation)
{
    const int FloatsAtATime = 1 << 22, FloatsOfATask = 1 << 16;

    readonly int _columns = checked((int)weight.Shape[^1]);
    readonly int _rowBytes = checked((int)dtype.ByteCount([weight.Shape[^1]]));

    /// <summary>Writes all rows.</summary>
    /// <param name="stream">Where to.</param>
    /// <returns>What the type did to the weight.</returns>
    /// <exception cref="OpenElmException">A number cannot be stored in the type.</exception>
    public TensorError WriteTo(Stream stream)
    {
        int rowsAtATime = (int)Math.Min(Math.Max(1, FloatsAtATime / _columns), weight.Elements / _columns);
        byte[] bytes = ArrayPool<byte>.Shared.Rent(checked(rowsAtATime * _rowBytes)); // fresh arrays of this size would leave the heap hundreds of megabytes larger
        try
        {
            TensorError error = default;
            foreach (TensorView part in weight.Parts)
            {
                long rows = part.Elements / _columns;
                for (long row = 0; row < rows; row += rowsAtATime)
                {
                    cancellation.ThrowIfCancellationRequested();
                    int count = (int)Math.Min(rowsAtATime, rows - row);
                    error += Convert(part, row, count, bytes);
                    stream.Write(bytes, 0, count * _rowBytes);
                }
            }

            return error;
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(bytes);
        }
    }

    TensorError Convert(TensorView part, long firstRow, int rows, byte[] bytes)
    {
        int rowsOfATask = Math.Max(1, FloatsOfATask / _columns), tasks = (rows + rowsOfATask - 1) / rowsOfATask;
        var errors = new TensorError[tasks];
        OpenElmException? refusal = null;
        Parallel.For(0, tasks, (task, state) =>
        {
            int begin = task * rowsOfATask, count = Math.Min(rowsOfATask, rows - begin);
            try
            {
                errors[task] = ConvertRows(Rows(part, firstRow + begin, count), bytes.AsSpan(begin * _rowBytes, count * _rowBytes));
            }
            catch (OpenElmException e)
            {
                refusal = e; // Parallel.For would wrap it
                state.Stop();
            }
        });
        return refusal is null ? errors.Aggregate(default(TensorError), (sum, one) => sum + one)
            : throw new OpenElmException(dtype.IsBlocked() ? $"{weight.Name} cannot be stored: {refusal.Message}" : refusal.Message, refusal);
    }

    TensorError ConvertRows(TensorView rows, Span<byte> bytes)
    {
        int elements = checked((int)rows.Elements);
        float[] rented = ArrayPool<float>.Shared.Rent(2 * elements);
        try
        {
            Span<float> before = rented.AsSpan(0, elements), after = rented.AsSpan(elements, elements);
            rows.CopyTo(before);
            if (dtype.IsBlocked())
            {
                BlockFormats.Quantize(dtype, before, bytes, importance.Span);
            }
            else
            {
                FloatEncoding.RequireRange(before, dtype, weight.Name);
                FloatEncoding.Encode(before, dtype).CopyTo(bytes);
            }

            Read(bytes, after);
            return ErrorOf(before, after);
        }
        finally
        {
            ArrayPool<float>.Shared.Return(rented);
        }
    }

    static TensorError ErrorOf(ReadOnlySpan<float> before, ReadOnlySpan<float> after)
    {
        double squaredError = 0, squaredWeights = 0;
        for (int i = 0; i < before.Length; i++)
        {
            double difference = (double)before[i] - after[i];
            squaredError += difference * difference;
            squaredWeights += (double)before[i] * before[i];
        }

        return new TensorError(before.Length, squaredError, squaredWeights);
    }

    unsafe void Read(Span<byte> bytes, Span<float> values)
    {
        fixed (byte* address = bytes)
        {
            new TensorView(weight.Name, dtype, [values.Length / _columns, _columns], (nint)address, bytes.Length).CopyTo(values);
        }
    }

    TensorView Rows(TensorView part, long first, int count)
    {
        long rowBytes = part.DType.ByteCount([_columns]);
        return part with { Shape = [count, _columns], Address = part.Address + (nint)(first * rowBytes), ByteCount = count * rowBytes };
    }
}
