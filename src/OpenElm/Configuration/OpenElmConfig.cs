using System.Collections.Immutable;

namespace OpenElm.Configuration;

/// <summary>
/// The architecture of one model, in the keys of Hugging Face's <c>config.json</c>. The defaults are those of Hugging
/// Face's OpenELM class. Immutable; per-layer widths are computed once (<see cref="Layers"/>).
/// </summary>
public sealed record OpenElmConfig
{
    /// <summary>More layers than any such model has: a number beyond it is an error of the file, and would fill the memory.</summary>
    const int MostLayers = 10_000;

    ImmutableArray<LayerShape> _layers;

    /// <summary>Rows of the embedding, padding rows included.</summary>
    public int VocabSize { get; init; } = 32000;

    /// <summary>The longest sequence the model was trained on.</summary>
    public int MaxContextLength { get; init; } = 2048;

    /// <summary>Decoder layers.</summary>
    public int NumTransformerLayers { get; init; } = 12;

    /// <summary>Width of the residual stream.</summary>
    public int ModelDim { get; init; } = 2048;

    /// <summary>Width of one attention head.</summary>
    public int HeadDim { get; init; } = 128;

    /// <summary>α: query width of a layer relative to <see cref="ModelDim"/>.</summary>
    public Multipliers QkvMultipliers { get; init; } = 1.0;

    /// <summary>Query heads for each KV head; JSON key <c>num_gqa_groups</c>. 1 is multi-head attention.</summary>
    public int QueryHeadsPerKvHead { get; init; } = 1;

    /// <summary>β: feed-forward width of a layer relative to <see cref="ModelDim"/>.</summary>
    public Multipliers FfnMultipliers { get; init; } = 4.0;

    /// <summary>Whether the feed-forward network has a gate (SwiGLU).</summary>
    public bool FfnWithGlu { get; init; } = true;

    /// <summary>Feed-forward widths are multiples of this.</summary>
    public int FfnDimDivisor { get; init; } = 256;

    /// <summary>Whether queries and keys are normalised over the head (QK-norm), before RoPE.</summary>
    public bool NormalizeQkProjections { get; init; }

    /// <summary>Whether the output head is the embedding (tied) or a matrix of its own.</summary>
    public bool ShareInputOutputLayers { get; init; }

    /// <summary>Base of the rotary frequencies.</summary>
    public double RopeFreqConstant { get; init; } = 10000;

    /// <summary>The longest sequence inference accepts.</summary>
    public int RopeMaxLength { get; init; } = 4096;

    /// <summary>ε of every RMSNorm (mlx-lm's key <c>rms_norm_eps</c>).</summary>
    public double RmsNormEps { get; init; } = 1e-6;

    /// <summary>Explicit query heads of each layer; null derives them from α.</summary>
    public ImmutableArray<int>? NumQueryHeads { get; init; }

    /// <summary>Explicit KV heads of each layer; null derives them.</summary>
    public ImmutableArray<int>? NumKvHeads { get; init; }

    /// <summary>Id of the token that begins a sequence.</summary>
    public int BosTokenId { get; init; } = 1;

    /// <summary>Id of the token that ends a sequence.</summary>
    public int EosTokenId { get; init; } = 2;

    /// <summary>The widths of every layer, computed on first use.</summary>
    /// <exception cref="OpenElmException">The configuration is impossible.</exception>
    public ImmutableArray<LayerShape> Layers => _layers.IsDefault ? _layers = LayerWiseScaling.ComputeLayers(this) : _layers;

    /// <summary>Copies a configuration; the copy computes its own <see cref="Layers"/>.</summary>
    /// <param name="original">The configuration to copy.</param>
    OpenElmConfig(OpenElmConfig original)
    {
        (VocabSize, MaxContextLength, NumTransformerLayers, ModelDim, HeadDim) =
            (original.VocabSize, original.MaxContextLength, original.NumTransformerLayers, original.ModelDim, original.HeadDim);
        (QkvMultipliers, QueryHeadsPerKvHead, FfnMultipliers, FfnWithGlu, FfnDimDivisor) =
            (original.QkvMultipliers, original.QueryHeadsPerKvHead, original.FfnMultipliers, original.FfnWithGlu, original.FfnDimDivisor);
        (NormalizeQkProjections, ShareInputOutputLayers, RopeFreqConstant, RopeMaxLength, RmsNormEps) =
            (original.NormalizeQkProjections, original.ShareInputOutputLayers, original.RopeFreqConstant, original.RopeMaxLength, original.RmsNormEps);
        (NumQueryHeads, NumKvHeads, BosTokenId, EosTokenId) =
            (original.NumQueryHeads, original.NumKvHeads, original.BosTokenId, original.EosTokenId);
    }

    /// <summary>Creates a configuration of defaults; set the rest with an initialiser.</summary>
    public OpenElmConfig()
    {
    }

    /// <summary>Checks every field and the layer table.</summary>
    /// <returns>This configuration.</returns>
    /// <exception cref="OpenElmException">Something is impossible; the message lists all of it.</exception>
    public OpenElmConfig Validated()
    {
        var problems = new List<string>();
        Validate(problems);
        return problems is [] ? this : throw OpenElmException.Of("Invalid model configuration", problems);
    }

    /// <summary>Adds one sentence for each impossible field.</summary>
    /// <param name="problems">The list to add to.</param>
    public void Validate(List<string> problems)
    {
        void AtLeastOne(string key, int value)
        {
            if (value < 1)
            {
                problems.Add($"{key} is {value}; it must be 1 or more");
            }
        }

        AtLeastOne("vocab_size", VocabSize);
        AtLeastOne("max_context_length", MaxContextLength);
        AtLeastOne("num_transformer_layers", NumTransformerLayers);
        AtLeastOne("model_dim", ModelDim);
        AtLeastOne("head_dim", HeadDim);
        AtLeastOne("num_gqa_groups", QueryHeadsPerKvHead);
        AtLeastOne("ffn_dim_divisor", FfnDimDivisor);
        if (NumTransformerLayers > MostLayers)
        {
            problems.Add($"num_transformer_layers is {NumTransformerLayers}; it must be {MostLayers} or less");
        }

        if (HeadDim % 2 != 0)
        {
            problems.Add($"head_dim is {HeadDim}; RoPE rotates pairs, so it must be even");
        }

        if (!(RopeFreqConstant > 0) || !double.IsFinite(RopeFreqConstant))
        {
            problems.Add($"rope_freq_constant is {RopeFreqConstant}; it must be a positive number");
        }

        if (RopeMaxLength < MaxContextLength)
        {
            problems.Add($"rope_max_length is {RopeMaxLength}; it must be at least max_context_length ({MaxContextLength})");
        }

        if (!(RmsNormEps >= 0) || !double.IsFinite(RmsNormEps))
        {
            problems.Add($"rms_norm_eps is {RmsNormEps}; it must be 0 or more");
        }

        foreach ((string key, Multipliers multipliers) in new[] { ("qkv_multipliers", QkvMultipliers), ("ffn_multipliers", FfnMultipliers) })
        {
            if (multipliers.Values.Any(v => !(v > 0) || !double.IsFinite(v)))
            {
                problems.Add($"{key} is {multipliers}; every multiplier must be a positive number");
            }
        }

        if (problems is not [])
        {
            return;
        }

        try
        {
            _ = Layers;
        }
        catch (OpenElmException e)
        {
            problems.Add(e.Message);
        }
    }

    /// <inheritdoc/>
    public bool Equals(OpenElmConfig? other) => other is not null && OpenElmConfigJson.Write(this) == OpenElmConfigJson.Write(other);

    /// <inheritdoc/>
    public override int GetHashCode() => HashCode.Combine(VocabSize, NumTransformerLayers, ModelDim, HeadDim);
}
