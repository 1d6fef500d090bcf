using System.Collections.Immutable;
using OpenElm.Configuration;

namespace OpenElm.Checkpoints;

/// <summary>Changes how a model is stored: type of the weights, rows of the vocabulary. Weights are streamed, never all in memory.</summary>
public static class ModelConversion
{
    const int FloatsAtATime = 1 << 20;

    /// <summary>Takes the content of an open folder; keep it open until the content is written.</summary>
    /// <param name="folder">The folder.</param>
    /// <returns>What it holds.</returns>
    public static ModelContent Content(ModelFolder folder)
    {
        ArgumentNullException.ThrowIfNull(folder);
        return new ModelContent(folder.Config, [.. TensorShapes.Of(folder.Config).Select(shape => TensorSource.Of(shape.Name, folder.Weights[shape.Name]))])
        {
            Tokenizer = folder.ReadTokenizer(),
        };
    }

    /// <summary>Stores the weights of an open folder in another type.</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="dtype">F32, BF16 or F16.</param>
    /// <returns>The same model in this type.</returns>
    public static ModelContent Content(ModelFolder folder, DType dtype)
    {
        ModelContent content = Content(folder);
        return content with
        {
            Weights = [.. content.Weights.Select(weight => weight.DType == dtype ? weight : Convert(weight.Name, folder.Weights[weight.Name], dtype))],
        };
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

    static TensorSource Convert(string name, TensorView tensor, DType dtype) => new(name, dtype, tensor.Shape, stream =>
    {
        float[] floats = new float[Math.Min(FloatsAtATime, tensor.Elements)];
        for (long at = 0; at < tensor.Elements; at += floats.Length)
        {
            int count = (int)Math.Min(floats.Length, tensor.Elements - at);
            int size = tensor.DType.Size();
            TensorView window = tensor with { Shape = [count], Address = tensor.Address + (nint)(at * size), ByteCount = (long)count * size };
            window.CopyTo(floats.AsSpan(0, count));
            FloatEncoding.RequireRange(floats.AsSpan(0, count), dtype, name);
            stream.Write(FloatEncoding.Encode(floats.AsSpan(0, count), dtype));
        }
    });
}
