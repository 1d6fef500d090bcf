using System.Collections.Immutable;
using OpenElm.Checkpoints.Mlx;
using OpenElm.Configuration;
using OpenElm.Quantization;

namespace OpenElm.Checkpoints;

/// <summary>Changes how a model is stored: type of the weights, rows of the vocabulary. Weights are streamed, never all in memory.</summary>
public static class ModelConversion
{
    const int FloatsAtATime = 1 << 20;

    /// <summary>Takes the content of an open checkpoint; keep it open until the content is written.</summary>
    /// <param name="checkpoint">The checkpoint.</param>
    /// <param name="types">The type to store each weight in; null, or null for a weight, keeps its own.</param>
    /// <param name="scaleType">The type that scales of affine groups are rounded to: that of the weights beside them.</param>
    /// <returns>What it holds.</returns>
    /// <exception cref="OpenElmException">A weight cannot be stored in its type.</exception>
    public static ModelContent Content(Checkpoint checkpoint, Func<StoredWeight, DType?>? types = null, DType scaleType = DType.F16)
    {
        ArgumentNullException.ThrowIfNull(checkpoint);
        return new ModelContent(checkpoint.Config, [.. TensorShapes.Of(checkpoint.Config)
            .Select(shape => checkpoint.Weights[shape.Name])
            .Select(weight => Source(weight, types?.Invoke(weight) ?? TypeOf(weight), scaleType))])
        {
            Tokenizer = checkpoint.Tokenizer,
        };
    }

    /// <summary>Stores all weights of an open checkpoint in another type.</summary>
    /// <param name="checkpoint">The checkpoint.</param>
    /// <param name="dtype">F32, BF16 or F16.</param>
    /// <returns>The same model in this type.</returns>
    public static ModelContent Content(Checkpoint checkpoint, DType dtype) => Content(checkpoint, _ => dtype);

    /// <summary>The type that a stored weight has; F32 where its parts have several.</summary>
    /// <param name="weight">The weight.</param>
    /// <returns>The type.</returns>
    public static DType TypeOf(StoredWeight weight)
    {
        ArgumentNullException.ThrowIfNull(weight);
        DType first = weight.Parts[0].DType;
        return weight.Parts.All(part => part.DType == first) ? first : DType.F32;
    }

    /// <summary>Keeps only the first rows of the vocabulary: rows behind the tokenizer's pieces only pad the matrices.</summary>
    /// <param name="content">The model.</param>
    /// <param name="rows">How many rows stay.</param>
    /// <returns>The smaller model.</returns>
    /// <exception cref="OpenElmException">The model has fewer rows.</exception>
    public static ModelContent WithVocabulary(ModelContent content, int rows)
    {
        ArgumentNullException.ThrowIfNull(content);
        if (rows < 1 || rows > content.Config.VocabSize)
        {
            throw new OpenElmException($"{rows} rows of the vocabulary cannot be kept; the model has {content.Config.VocabSize}.");
        }

        return content with
        {
            Config = (content.Config with { VocabSize = rows }).Validated(),
            Weights = [.. content.Weights.Select(weight => weight.Name is TensorNames.Embedding or TensorNames.Classifier ? FirstRows(weight, rows) : weight)],
        };
    }

    static TensorSource FirstRows(TensorSource weight, int rows)
    {
        ImmutableArray<long> shape = weight.Shape.SetItem(0, rows);
        TensorSource cut = weight with { Shape = shape };
        return cut with { Write = stream => weight.Write(new FirstBytesStream(stream, cut.ByteCount)) };
    }

    static TensorSource Source(StoredWeight weight, DType dtype, DType scaleType)
    {
        int block = dtype.BlockElements();
        if (weight.Shape[^1] % block != 0)
        {
            throw new OpenElmException($"{weight.Name} has rows of {weight.Shape[^1]} elements, which are no multiple of {dtype}'s blocks of {block}; choose a type of smaller blocks.");
        }

        return new TensorSource(weight.Name, dtype, weight.Shape, stream =>
        {
            foreach (TensorView part in weight.Parts)
            {
                if (part.DType == dtype)
                {
                    using UnmanagedMemoryStream bytes = part.OpenRead();
                    bytes.CopyTo(stream, 1 << 20);
                }
                else
                {
                    Convert(part, weight.Name, dtype, scaleType, stream);
                }
            }
        });
    }

    static void Convert(TensorView tensor, string name, DType dtype, DType scaleType, Stream stream)
    {
        TensorView matrix = tensor.Shape.Length == 1 ? tensor with { Shape = tensor.Shape.Insert(0, 1) } : tensor;
        (long rows, int columns) = (matrix.Shape[0], checked((int)matrix.Shape[1]));
        int rowsAtATime = (int)Math.Clamp(FloatsAtATime / Math.Max(1, columns), 1, Math.Max(1, rows));
        float[] floats = new float[checked(rowsAtATime * columns)];
        for (long row = 0; row < rows; row += rowsAtATime)
        {
            int count = (int)Math.Min(rowsAtATime, rows - row);
            matrix.Rows(row, count).CopyTo(floats.AsSpan(0, count * columns));
            stream.Write(dtype.IsBlocked() ? Quantise(floats, count, columns, dtype, scaleType) : Encode(floats.AsSpan(0, count * columns), dtype, name));
        }
    }

    static byte[] Encode(ReadOnlySpan<float> values, DType dtype, string name)
    {
        FloatEncoding.RequireRange(values, dtype, name);
        return FloatEncoding.Encode(values, dtype);
    }

    static byte[] Quantise(float[] values, int rows, int columns, DType dtype, DType scaleType)
    {
        int rowBytes = columns / dtype.BlockElements() * dtype.BlockBytes();
        byte[] blocks = new byte[rows * rowBytes];
        Parallel.For(0, rows, row =>
        {
            Span<float> from = values.AsSpan(row * columns, columns);
            Span<byte> to = blocks.AsSpan(row * rowBytes, rowBytes);
            BlockFormats.Quantize(dtype, from, to);
            if (dtype.IsAffine())
            {
                AffineScales.Round(from, to, dtype, scaleType);
            }
        });
        return blocks;
    }
}
