using OpenElm.Checkpoints;
using OpenElm.Configuration;
using OpenElm.Inference.Memory;
using OpenElm.Quantization;

namespace OpenElm.Inference.Benchmarking;

/// <summary>Weights for measurements of speed: every matrix is the same random numbers in one type, every norm is ones; no more memory than the largest matrix.</summary>
internal sealed class RandomWeights : IDisposable
{
    const double StandardDeviation = 0.02;

    readonly NativeFloats _matrix, _norm;

    readonly DType _type;

    public RandomWeights(OpenElmConfig config, DType type = DType.BF16)
    {
        _type = type;
        TensorShape[] shapes = [.. TensorShapes.Of(config)];
        _matrix = new NativeFloats((shapes.Where(shape => shape.Shape.Length == 2).Max(shape => TypeOf(shape).ByteCount(shape.Shape)) + 3) / 4);
        _norm = new NativeFloats(shapes.Where(shape => shape.Shape.Length == 1).Max(shape => shape.Elements));
        _norm.Values.Fill(1);
        var random = new Random(1);
        // Uniform numbers of the same spread.
        float Next() => (float)(((2 * random.NextDouble()) - 1) * Math.Sqrt(3) * StandardDeviation);
        if (type == DType.BF16)
        {
            Span<ushort> numbers = System.Runtime.InteropServices.MemoryMarshal.Cast<float, ushort>(_matrix.Values);
            for (int i = 0; i < numbers.Length; i++)
            {
                numbers[i] = FloatEncoding.ToBFloat16(Next());
            }
        }
        else
        {
            // Blocks are long to make; a few of them, over and over.
            float[] some = [.. Enumerable.Range(0, 1 << 14).Select(_ => Next())];
            byte[] blocks = new byte[some.Length / type.BlockElements() * type.BlockBytes()];
            BlockFormats.Quantize(type, some, blocks);
            Span<byte> bytes = System.Runtime.InteropServices.MemoryMarshal.AsBytes(_matrix.Values);
            for (; bytes.Length > 0; bytes = bytes[Math.Min(blocks.Length, bytes.Length)..])
            {
                blocks.AsSpan(0, Math.Min(blocks.Length, bytes.Length)).CopyTo(bytes);
            }
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
        : new TensorView(shape.Name, TypeOf(shape), shape.Shape, (nint)_matrix.Pointer, TypeOf(shape).ByteCount(shape.Shape));

    DType TypeOf(TensorShape shape) => shape.Shape[^1] % _type.BlockElements() == 0 ? _type
        : throw new OpenElmException($"Rows of {shape.Name} have {shape.Shape[^1]} numbers, which are no whole blocks of {_type}; choose another type.");
}
