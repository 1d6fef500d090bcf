using System.Collections.Immutable;
using OpenElm.Checkpoints;
using OpenElm.Configuration;

namespace OpenElm.Inference;

/// <summary>A weight in float32: a window on the mapped file, or on a converted copy.</summary>
/// <param name="Address">The first float.</param>
/// <param name="Rows">Rows of a matrix [out, in]; 1 for a norm.</param>
/// <param name="Columns">Width of a row.</param>
internal readonly unsafe record struct Weight(nint Address, int Rows, int Columns)
{
    /// <summary>All elements, [Rows, Columns].</summary>
    public ReadOnlySpan<float> Values => new((void*)Address, checked(Rows * Columns));

    /// <summary>Some rows.</summary>
    /// <param name="first">The first row.</param>
    /// <param name="end">Behind the last row.</param>
    /// <returns>[end − first, Columns].</returns>
    public ReadOnlySpan<float> RowRange(int first, int end) => new((float*)Address + ((long)first * Columns), (end - first) * Columns);
}

/// <summary>The weights of one layer; shapes as in <see cref="TensorShapes"/>.</summary>
internal sealed record LayerWeights(
    LayerShape Shape, Weight AttnNorm, Weight QkvProj, Weight? QNorm, Weight? KNorm, Weight OutProj, Weight FfnNorm, Weight Proj1, Weight Proj2);

/// <summary>What a model has learned: shared by all sequences, read-only. Float32 files are used in place; other types are converted once.</summary>
internal sealed class ModelWeights : IDisposable
{
    readonly List<IDisposable> _owned;

    ModelWeights(OpenElmConfig config, Func<TensorShape, Weight> find, List<IDisposable> owned)
    {
        _owned = owned;
        Dictionary<string, TensorShape> shapes = TensorShapes.Of(config).ToDictionary(shape => shape.Name);
        Weight Named(string name) => find(shapes[name]);

        Embedding = Named(TensorNames.Embedding);
        Layers = [.. config.Layers.Select((shape, i) => new LayerWeights(
            shape,
            AttnNorm: Named(TensorNames.Layer(i, "attn_norm")),
            QkvProj: Named(TensorNames.Layer(i, "attn.qkv_proj")),
            QNorm: config.NormalizeQkProjections ? Named(TensorNames.Layer(i, "attn.q_norm")) : null,
            KNorm: config.NormalizeQkProjections ? Named(TensorNames.Layer(i, "attn.k_norm")) : null,
            OutProj: Named(TensorNames.Layer(i, "attn.out_proj")),
            FfnNorm: Named(TensorNames.Layer(i, "ffn_norm")),
            Proj1: Named(TensorNames.Layer(i, "ffn.proj_1")),
            Proj2: Named(TensorNames.Layer(i, "ffn.proj_2"))))];
        FinalNorm = Named(TensorNames.FinalNorm);
        Head = config.ShareInputOutputLayers ? Embedding : Named(TensorNames.Classifier);
    }

    /// <summary>[vocab, modelDim].</summary>
    public Weight Embedding { get; }

    /// <summary>All layers.</summary>
    public ImmutableArray<LayerWeights> Layers { get; }

    /// <summary>[modelDim].</summary>
    public Weight FinalNorm { get; }

    /// <summary>[vocab, modelDim]: the embedding itself, if it is tied.</summary>
    public Weight Head { get; }

    /// <summary>Takes the weights of an open checkpoint, and its ownership.</summary>
    /// <param name="checkpoint">The checkpoint; disposed with the weights.</param>
    /// <returns>The weights.</returns>
    public static ModelWeights Of(Checkpoint checkpoint)
    {
        List<IDisposable> owned = [checkpoint];
        return new ModelWeights(checkpoint.Config, shape =>
        {
            StoredWeight weight = checkpoint.Weights[shape.Name];
            return weight.Parts is [{ DType: DType.F32 } whole] ? AsWeight(shape, whole.Address) : Copy(shape, weight.CopyTo, owned);
        }, owned);
    }

    /// <summary>Copies weights from memory.</summary>
    /// <param name="config">The architecture.</param>
    /// <param name="weights">Every weight by CoreNet's name, row-major.</param>
    /// <returns>The weights.</returns>
    /// <exception cref="OpenElmException">A weight is missing or has another size; all are listed.</exception>
    public static ModelWeights Of(OpenElmConfig config, IReadOnlyDictionary<string, ReadOnlyMemory<float>> weights)
    {
        string[] problems = [.. TensorShapes.Of(config)
            .Where(shape => !weights.TryGetValue(shape.Name, out ReadOnlyMemory<float> values) || values.Length != shape.Elements)
            .Select(shape => weights.TryGetValue(shape.Name, out ReadOnlyMemory<float> values)
                ? $"{shape.Name} has {values.Length} elements; the configuration implies {shape.Elements}"
                : $"{shape.Name} is missing")];
        if (problems is not [])
        {
            throw OpenElmException.Of("The weights do not fit the configuration", problems);
        }

        List<IDisposable> owned = [];
        return new ModelWeights(config, shape => Copy(shape, floats => weights[shape.Name].Span.CopyTo(floats), owned), owned);
    }

    /// <inheritdoc/>
    public void Dispose() => _owned.ForEach(owner => owner.Dispose());

    static unsafe Weight Copy(TensorShape shape, Action<Span<float>> copyTo, List<IDisposable> owned)
    {
        var floats = new NativeFloats(shape.Elements);
        owned.Add(floats);
        copyTo(floats.Slice(0, checked((int)shape.Elements)));
        return AsWeight(shape, (nint)floats.Pointer);
    }

    static Weight AsWeight(TensorShape shape, nint address) => shape.Shape is [long rows, long columns]
        ? new Weight(address, checked((int)rows), checked((int)columns))
        : new Weight(address, 1, checked((int)shape.Shape[0]));
}
