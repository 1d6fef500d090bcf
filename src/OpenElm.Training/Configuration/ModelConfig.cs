using OpenElm.Configuration;

namespace OpenElm.Training;

/// <summary>
/// The architecture of a run: a shipped configuration or a <c>config.json</c>, and whatever differs from it, in the same keys.
/// Without a base, the defaults are those of Hugging Face's class.
/// </summary>
public sealed record ModelConfig : IValidated
{
    /// <summary>A shipped name such as <c>openelm-270m</c>, or the path of a <c>config.json</c>.</summary>
    public string? Base { get; init; }

    /// <summary>Rows of the embedding; must exceed the tokenizer's padding id.</summary>
    public int? VocabSize { get; init; }

    /// <summary>The longest sequence the model is trained on.</summary>
    public int? MaxContextLength { get; init; }

    /// <summary>Decoder layers.</summary>
    public int? NumTransformerLayers { get; init; }

    /// <summary>Width of the residual stream.</summary>
    public int? ModelDim { get; init; }

    /// <summary>Width of one head.</summary>
    public int? HeadDim { get; init; }

    /// <summary>α: one number, a pair, or one a layer.</summary>
    public Multipliers? QkvMultipliers { get; init; }

    /// <summary>Query heads for each KV head.</summary>
    public int? NumGqaGroups { get; init; }

    /// <summary>β: one number, a pair, or one a layer.</summary>
    public Multipliers? FfnMultipliers { get; init; }

    /// <summary>Whether the feed-forward network has a gate.</summary>
    public bool? FfnWithGlu { get; init; }

    /// <summary>Feed-forward widths are multiples of this.</summary>
    public int? FfnDimDivisor { get; init; }

    /// <summary>QK-norm.</summary>
    public bool? NormalizeQkProjections { get; init; }

    /// <summary>Tied head.</summary>
    public bool? ShareInputOutputLayers { get; init; }

    /// <summary>Base of the rotary frequencies.</summary>
    public double? RopeFreqConstant { get; init; }

    /// <summary>The longest sequence inference accepts.</summary>
    public int? RopeMaxLength { get; init; }

    /// <summary>ε of every RMSNorm.</summary>
    public double? RmsNormEps { get; init; }

    /// <summary>Puts base and differences together.</summary>
    /// <returns>The architecture, validated.</returns>
    /// <exception cref="OpenElmException">The base is unknown or the result impossible.</exception>
    public OpenElmConfig Resolve() => Merge().Validated();

    /// <inheritdoc/>
    public void Validate(string path, List<string> problems)
    {
        try
        {
            var found = new List<string>();
            Merge().Validate(found);
            problems.AddRange(found.Select(problem => ValidationProblems.PathOf(path, problem)));
        }
        catch (OpenElmException e)
        {
            problems.Add($"{ValidationProblems.PathOf(path, "base")} cannot be used: {e.Message}");
        }
    }

    OpenElmConfig Merge()
    {
        OpenElmConfig b = Base is null ? new OpenElmConfig() : NamedConfigs.Contains(Base) || !File.Exists(Base) ? NamedConfigs.Get(Base) : OpenElmConfigJson.ReadFile(Base);
        return b with
        {
            VocabSize = VocabSize ?? b.VocabSize,
            MaxContextLength = MaxContextLength ?? b.MaxContextLength,
            NumTransformerLayers = NumTransformerLayers ?? b.NumTransformerLayers,
            ModelDim = ModelDim ?? b.ModelDim,
            HeadDim = HeadDim ?? b.HeadDim,
            QkvMultipliers = QkvMultipliers ?? b.QkvMultipliers,
            QueryHeadsPerKvHead = NumGqaGroups ?? b.QueryHeadsPerKvHead,
            FfnMultipliers = FfnMultipliers ?? b.FfnMultipliers,
            FfnWithGlu = FfnWithGlu ?? b.FfnWithGlu,
            FfnDimDivisor = FfnDimDivisor ?? b.FfnDimDivisor,
            NormalizeQkProjections = NormalizeQkProjections ?? b.NormalizeQkProjections,
            ShareInputOutputLayers = ShareInputOutputLayers ?? b.ShareInputOutputLayers,
            RopeFreqConstant = RopeFreqConstant ?? b.RopeFreqConstant,
            RopeMaxLength = RopeMaxLength ?? b.RopeMaxLength,
            RmsNormEps = RmsNormEps ?? b.RmsNormEps,
        };
    }
}
