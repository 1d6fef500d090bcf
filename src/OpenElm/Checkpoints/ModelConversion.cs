using System.Collections.Immutable;
using OpenElm.Configuration;
using OpenElm.Quantization;

namespace OpenElm.Checkpoints;

/// <summary>Changes how a model is stored: type of the weights, rows of the vocabulary. Weights are streamed, never all in memory.</summary>
public static class ModelConversion
{
    /// <summary>Takes the content of an open checkpoint; keep it open until the content is written.</summary>
    /// <param name="checkpoint">The checkpoint.</param>
    /// <param name="types">The type to store each weight in; null, or null for a weight, keeps its own.</param>
    /// <returns>What it holds.</returns>
    /// <exception cref="OpenElmException">A weight cannot be stored in its type.</exception>
    public static ModelContent Content(Checkpoint checkpoint, Func<StoredWeight, DType?>? types = null)
    {
        ArgumentNullException.ThrowIfNull(checkpoint);
        return new ModelContent(checkpoint.Config, [.. TensorShapes.Of(checkpoint.Config)
            .Select(shape => checkpoint.Weights[shape.Name])
            .Select(weight => Source(weight, types?.Invoke(weight) ?? TypeOf(weight)))])
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

    static TensorSource Source(StoredWeight weight, DType dtype)
    {
        int block = dtype.BlockElements();
        if (weight.Shape[^1] % block != 0)
        {
            throw new OpenElmException($"{weight.Name} has rows of {weight.Shape[^1]} elements, which are no multiple of {dtype}'s blocks of {block}; choose a type of smaller blocks.");
        }

        return weight.Parts.All(part => part.DType == dtype)
            ? new TensorSource(weight.Name, dtype, weight.Shape, stream => Copy(weight, stream))
            : new TensorSource(weight.Name, dtype, weight.Shape, stream => new WeightWriter(weight, dtype, default, CancellationToken.None).WriteTo(stream));
    }

    static void Copy(StoredWeight weight, Stream stream)
    {
        foreach (TensorView part in weight.Parts)
        {
            using UnmanagedMemoryStream bytes = part.OpenRead();
            bytes.CopyTo(stream, 1 << 20);
        }
    }
}
