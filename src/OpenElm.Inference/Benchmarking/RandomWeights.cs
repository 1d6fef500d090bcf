using OpenElm.Checkpoints;
using OpenElm.Configuration;
using OpenElm.Inference.Memory;

namespace OpenElm.Inference.Benchmarking;

/// <summary>Weights for measurements of speed: every matrix is the same random numbers in bfloat16, every norm is ones; no more memory than the largest matrix.</summary>
internal sealed class RandomWeights : IDisposable
{
    const double StandardDeviation = 0.02;

    readonly NativeFloats _matrix, _norm;

    public RandomWeights(OpenElmConfig config)
    {
        TensorShape[] shapes = [.. TensorShapes.Of(config)];
        _matrix = new NativeFloats((shapes.Max(shape => shape.Elements) + 1) / 2);
        _norm = new NativeFloats(shapes.Where(shape => shape.Shape.Length == 1).Max(shape => shape.Elements));
        _norm.Values.Fill(1);
        var random = new Random(1);
        Span<ushort> numbers = System.Runtime.InteropServices.MemoryMarshal.Cast<float, ushort>(_matrix.Values);
        for (int i = 0; i < numbers.Length; i++)
        {
            // Uniform numbers of the same spread.
            numbers[i] = FloatEncoding.ToBFloat16((float)(((2 * random.NextDouble()) - 1) * Math.Sqrt(3) * StandardDeviation));
        }

        Weights = shapes.ToDictionary(shape => shape.Name, shape => StoredWeight.Of(shape.Name, Of(shape)));
    }

    /// <summary>Every weight, valid until this is disposed.</summary>
    public IReadOnlyDictionary<string, StoredWeight> Weights { get; }

    /// <inheritdoc/>
    public void Dispose()
    {
        _matrix.Dispose();
        _norm.Dispose();
    }

    unsafe TensorView Of(TensorShape shape) => shape.Shape.Length == 1
        ? new TensorView(shape.Name, DType.F32, shape.Shape, (nint)_norm.Pointer, shape.Elements * sizeof(float))
        : new TensorView(shape.Name, DType.BF16, shape.Shape, (nint)_matrix.Pointer, shape.Elements * sizeof(ushort));
}
