using System.Collections.Immutable;
using OpenElm.Configuration;

namespace OpenElm.Checkpoints;

/// <summary>The architecture that the shapes of weights tell, for formats that do not say it.</summary>
internal static class WeightShapes
{
    /// <summary>Derives an architecture; what shapes cannot tell is taken from the shipped model of these widths, or from the defaults.</summary>
    /// <param name="path">The file, for messages.</param>
    /// <param name="shapes">The shapes by CoreNet's names.</param>
    /// <param name="architecture">The architecture, if the user named it: only the rows of the vocabulary are taken from the shapes.</param>
    /// <param name="note">A sentence on what was derived.</param>
    /// <returns>The configuration.</returns>
    /// <exception cref="OpenElmException">These are no weights of an OpenELM, or the size of its heads is not told.</exception>
    public static OpenElmConfig Complete(string path, IReadOnlyDictionary<string, ImmutableArray<long>> shapes, OpenElmConfig? architecture, out string note)
    {
        (int vocab, int modelDim) = Matrix(path, shapes, TensorNames.Embedding);
        if (architecture is not null)
        {
            note = $"The architecture is the one that was named, with {vocab} rows of the vocabulary.";
            return (architecture with { VocabSize = vocab }).Validated();
        }

        if (!shapes.TryGetValue(TensorNames.Layer(0, "attn.q_norm"), out ImmutableArray<long> norm) || norm is not [> 0 and <= int.MaxValue and var headDim])
        {
            throw new OpenElmException($"{path} does not say its architecture, and without {TensorNames.Layer(0, "attn.q_norm")} the size of its heads cannot be derived; name the architecture (--config).");
        }

        var layers = ImmutableArray.CreateBuilder<LayerShape>();
        bool isGated = true;
        for (int i = 0; shapes.ContainsKey(TensorNames.Layer(i, "attn.qkv_proj")); i++)
        {
            (int qkv, _) = Matrix(path, shapes, TensorNames.Layer(i, "attn.qkv_proj"));
            (_, int heads) = Matrix(path, shapes, TensorNames.Layer(i, "attn.out_proj"));
            (int inner, _) = Matrix(path, shapes, TensorNames.Layer(i, "ffn.proj_1"));
            (_, int ffnDim) = Matrix(path, shapes, TensorNames.Layer(i, "ffn.proj_2"));
            isGated = inner != ffnDim;
            int queryHeads = (int)(heads / headDim);
            layers.Add(new LayerShape(queryHeads, (int)(((qkv / headDim) - queryHeads) / 2), ffnDim));
        }

        OpenElmConfig config = ConfigFromWidths.Complete(new OpenElmConfig
        {
            VocabSize = vocab,
            ModelDim = modelDim,
            HeadDim = (int)headDim,
            FfnWithGlu = isGated,
            NormalizeQkProjections = true,
            ShareInputOutputLayers = !shapes.ContainsKey(TensorNames.Classifier),
        }, layers.ToImmutable(), out string? name);
        string facts = $"RoPE base {config.RopeFreqConstant}, epsilon {config.RmsNormEps} and context {config.MaxContextLength}";
        note = name is not null
            ? $"The architecture was derived from the shapes: that of {name}, with its {facts} and {vocab} rows of the vocabulary."
            : $"The architecture was derived from the shapes; they do not tell {facts}, which are assumed: name the architecture (--config) if it has others.";
        return config;
    }

    static (int Rows, int Columns) Matrix(string path, IReadOnlyDictionary<string, ImmutableArray<long>> shapes, string name) =>
        shapes.TryGetValue(name, out ImmutableArray<long> shape) && shape is [> 0 and <= int.MaxValue and var rows, > 0 and <= int.MaxValue and var columns]
            ? ((int)rows, (int)columns)
            : throw new OpenElmException($"{path} holds no matrix {name}; it is no OpenELM.");
}
