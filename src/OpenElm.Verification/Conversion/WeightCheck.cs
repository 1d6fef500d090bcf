using OpenElm.Checkpoints;
using OpenElm.Configuration;

namespace OpenElm.Verification.Conversion;

/// <summary>The weight of a converted model that is furthest from its source.</summary>
/// <param name="Weight">CoreNet's name.</param>
/// <param name="RelativeError">Root of the mean square of the differences, relative to that of the source's numbers.</param>
/// <param name="Allowed">The limit for the type it is stored in.</param>
public readonly record struct WeightCheck(string Weight, double RelativeError, double Allowed)
{
    const int FloatsAtATime = 1 << 18;

    /// <summary>Whether it is within its limit; NaN is not.</summary>
    public bool Passed => RelativeError <= Allowed;

    double Excess => double.IsNaN(RelativeError) ? double.PositiveInfinity : RelativeError == 0 ? 0 : RelativeError / Allowed;

    /// <summary>
    /// Compares weight by weight, a few rows at a time: needs no memory to speak of, and a misplaced half, head or row of a
    /// single layer shows, which 4-bit noise hides in the logits.
    /// </summary>
    /// <param name="source">The source.</param>
    /// <param name="result">What was written, of the same architecture but perhaps fewer rows of the vocabulary.</param>
    /// <returns>The weight that is worst in relation to its limit.</returns>
    public static WeightCheck Worst(Checkpoint source, Checkpoint result)
    {
        ArgumentNullException.ThrowIfNull(source);
        ArgumentNullException.ThrowIfNull(result);
        return TensorShapes.Of(result.Config).AsParallel()
            .Select(shape => Compare(source.Weights[shape.Name], result.Weights[shape.Name]))
            .MaxBy(check => check.Excess);
    }

    static WeightCheck Compare(StoredWeight source, StoredWeight result)
    {
        StoredWeight a = AsMatrix(source), b = AsMatrix(result);
        (long rows, int columns) = (b.Shape[0], checked((int)b.Shape[1]));
        int rowsAtATime = (int)Math.Clamp(FloatsAtATime / columns, 1, rows);
        float[] expected = new float[rowsAtATime * columns], actual = new float[rowsAtATime * columns];
        double errors = 0, squares = 0;
        for (long row = 0; row < rows; row += rowsAtATime)
        {
            int count = (int)Math.Min(rowsAtATime, rows - row), elements = count * columns;
            a.CopyRowsTo(row, count, expected.AsSpan(0, elements));
            b.CopyRowsTo(row, count, actual.AsSpan(0, elements));
            for (int i = 0; i < elements; i++)
            {
                double error = (double)actual[i] - expected[i];
                errors += error * error;
                squares += (double)expected[i] * expected[i];
            }
        }

        bool isUnchanged = source.Parts.All(part => part.DType == result.Parts[0].DType) && result.Parts.All(part => part.DType == result.Parts[0].DType);
        return new WeightCheck(result.Name, errors == 0 ? 0 : Math.Sqrt(errors / squares), isUnchanged ? 0 : result.Parts.Max(part => Limit(part.DType)));
    }

    // Half a unit in the last place, and for blocks what an outlier in each of them costs; any misplacement gives 1 or more.
    static double Limit(DType dtype) => dtype switch
    {
        DType.F32 or DType.F64 => 1e-7,
        DType.F16 => 1e-3, // numbers below 6e-5 have fewer digits
        DType.BF16 => 1.0 / 256,
        DType.Q8_0 or DType.Affine8x32 or DType.Affine8x64 => 0.02,
        DType.Q6_K => 0.08,
        DType.Q5_0 or DType.Q5_1 or DType.Q5_K => 0.15,
        _ => 0.3,
    };

    static StoredWeight AsMatrix(StoredWeight weight) => weight.Shape.Length == 2 ? weight
        : weight with { Shape = weight.Shape.Insert(0, 1), Parts = [.. weight.Parts.Select(part => part with { Shape = part.Shape.Insert(0, 1) })] };
}
