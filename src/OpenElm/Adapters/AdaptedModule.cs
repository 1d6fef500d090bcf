using System.Collections.Immutable;
using OpenElm.Configuration;

namespace OpenElm.Adapters;

/// <summary>A module that an adapter can change: the embedding, or a linear layer inside the decoder layers. The head is not one of them.</summary>
/// <param name="Name">CoreNet's name, such as <c>layers.0.attn.qkv_proj</c>.</param>
/// <param name="IsEmbedding">Whether it looks rows up instead of multiplying.</param>
/// <param name="Inputs">Columns of a linear layer's weight; the embedding's vocabulary.</param>
/// <param name="Outputs">Rows of a linear layer's weight; the embedding's width.</param>
public record AdaptableModule(string Name, bool IsEmbedding, long Inputs, long Outputs)
{
    /// <summary>The weight under CoreNet's name: [Outputs, Inputs], or [Inputs, Outputs] of the embedding.</summary>
    public string WeightName => Name + ".weight";

    /// <summary>Lists the modules of a model, without allocating any.</summary>
    /// <param name="model">The architecture.</param>
    /// <returns>In the order of the forward pass.</returns>
    public static IEnumerable<AdaptableModule> Of(OpenElmConfig model) => TensorShapes.Of(model)
        .Where(shape => shape.Shape.Length == 2 && shape.Name != TensorNames.Classifier)
        .Select(shape =>
        {
            bool isEmbedding = shape.Name == TensorNames.Embedding;
            (long rows, long columns) = (shape.Shape[0], shape.Shape[1]);
            return new AdaptableModule(shape.Name[..^".weight".Length], isEmbedding, isEmbedding ? rows : columns, isEmbedding ? columns : rows);
        });
}

/// <summary>A module with its adapter: ΔW = Scaling · B · A of a linear layer, ΔE = Scaling · (B · A)ᵀ of the embedding.</summary>
public sealed record AdaptedModule : AdaptableModule
{
    /// <summary>Describes a module's adapter.</summary>
    /// <param name="module">The module.</param>
    public AdaptedModule(AdaptableModule module)
        : base(module)
    {
    }

    /// <summary>Rows of A and columns of B.</summary>
    public required int Rank { get; init; }

    /// <summary>α.</summary>
    public required double Alpha { get; init; }

    /// <summary>Share of the input that is zeroed in training; 0 for the embedding.</summary>
    public double Dropout { get; init; }

    /// <summary>Whether α is divided by √rank instead of rank.</summary>
    public bool RsLora { get; init; }

    /// <summary>Whether it has a magnitude vector.</summary>
    public bool Dora { get; init; }

    /// <summary>How A and B start.</summary>
    public AdapterInitialization Initialization { get; init; }

    /// <summary>The factor of B · A.</summary>
    public double Scaling => RsLora ? Alpha / Math.Sqrt(Rank) : Alpha / Rank;

    /// <summary>Trainable numbers: A, B and the magnitude.</summary>
    public long Parameters => checked((Rank * (Inputs + Outputs)) + (Dora ? Outputs : 0));

    /// <summary>The tensors it has.</summary>
    public ImmutableArray<AdapterPart> Parts => Dora ? [AdapterPart.A, AdapterPart.B, AdapterPart.Magnitude] : [AdapterPart.A, AdapterPart.B];

    /// <summary>The shape of a tensor.</summary>
    /// <param name="part">Which.</param>
    /// <returns>A [Rank, Inputs], B [Outputs, Rank], magnitude [Outputs].</returns>
    public ImmutableArray<long> ShapeOf(AdapterPart part) => part switch
    {
        AdapterPart.A => [Rank, Inputs],
        AdapterPart.B => [Outputs, Rank],
        _ => [Outputs],
    };
}
