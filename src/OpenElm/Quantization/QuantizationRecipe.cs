using System.Collections.Immutable;
using OpenElm.Checkpoints;
using OpenElm.Configuration;

namespace OpenElm.Quantization;

/// <summary>
/// Which weight is stored in which type. The mixes of GGUF are llama.cpp's: a head (the tied embedding too) has 6 bits where
/// the rest has fewer; <c>Q4_K_M</c> gives 6 bits to qkv_proj and proj_2 in the first and last eighth of the layers and in each
/// third between. Norms are always F32 there. MLX quantises the layers' matrices only; all else has one plain type, in which it
/// also stores scales.
/// </summary>
public sealed record QuantizationRecipe
{
    const string Mixed = "Q4_K_M", Mlx = "MLX";

    static readonly ImmutableArray<DType> Plain = [DType.F32, DType.BF16, DType.F16];
    static readonly ImmutableArray<DType> Gguf = [DType.Q8_0, DType.Q6_K, DType.Q5_K, DType.Q5_1, DType.Q5_0, DType.Q4_K, DType.Q4_1, DType.Q4_0];

    QuantizationRecipe(string name, DType matrices) => (Name, Matrices) = (name, matrices);

    /// <summary>The name, as <see cref="Parse"/> takes it.</summary>
    public string Name { get; }

    /// <summary>The type of the layers' matrices.</summary>
    public DType Matrices { get; }

    /// <summary>The type of the embedding (and of the head that is tied to it); null takes the recipe's own.</summary>
    public DType? Embeddings { get; init; }

    /// <summary>The type of the head; null takes the recipe's own. A tied head cannot have another than the embedding.</summary>
    public DType? Head { get; init; }

    /// <summary>Whether the result is a folder for MLX; else it is a GGUF file, or any format for plain types.</summary>
    public bool IsMlx => Name.StartsWith(Mlx, StringComparison.Ordinal);

    /// <summary>Whether matrices are stored in blocks.</summary>
    public bool IsBlocked => Matrices.IsBlocked();

    /// <summary>All names.</summary>
    public static ImmutableArray<string> Names { get; } = [Mixed, .. Gguf.Select(type => type.ToString()), .. Plain.Select(type => type.ToString()), Mlx + "4", Mlx + "8"];

    /// <summary>The names of types that <see cref="Embeddings"/> and <see cref="Head"/> take.</summary>
    public static ImmutableArray<string> TypeNames { get; } = [.. Gguf.Concat(Plain).Select(type => type.ToString())];

    /// <summary>Finds a recipe.</summary>
    /// <param name="name">One of <see cref="Names"/>, in any case.</param>
    /// <param name="group">Elements that share a scale, for MLX: 32 or 64; null takes 64.</param>
    /// <returns>The recipe.</returns>
    /// <exception cref="OpenElmException">There is none, or the group does not go with it.</exception>
    public static QuantizationRecipe Parse(string name, int? group = null)
    {
        string known = Names.FirstOrDefault(known => known.Equals(name, StringComparison.OrdinalIgnoreCase))
            ?? throw new OpenElmException($"There is no format {name}; there are {string.Join(", ", Names)}.");
        if (!known.StartsWith(Mlx, StringComparison.Ordinal))
        {
            return group is null
                ? new QuantizationRecipe(known, known == Mixed ? DType.Q4_K : Enum.Parse<DType>(known))
                : throw new OpenElmException($"The blocks of {known} have a fixed size; a group goes with MLX4 and MLX8 only.");
        }

        return new QuantizationRecipe(known, (known[^1], group ?? 64) switch
        {
            ('4', 32) => DType.Affine4x32,
            ('4', 64) => DType.Affine4x64,
            ('8', 32) => DType.Affine8x32,
            ('8', 64) => DType.Affine8x64,
            _ => throw new OpenElmException($"The group is {group}; it must be 32 or 64."),
        });
    }

    /// <summary>Finds a type for <see cref="Embeddings"/> or <see cref="Head"/>.</summary>
    /// <param name="name">One of <see cref="TypeNames"/>, in any case.</param>
    /// <returns>The type.</returns>
    /// <exception cref="OpenElmException">There is none.</exception>
    public static DType ParseType(string name) => TypeNames.FirstOrDefault(known => known.Equals(name, StringComparison.OrdinalIgnoreCase)) is { } known
        ? Enum.Parse<DType>(known)
        : throw new OpenElmException($"There is no type {name}; there are {string.Join(", ", TypeNames)}.");

    /// <summary>Checks the recipe against an architecture.</summary>
    /// <param name="config">The architecture.</param>
    /// <returns>This recipe.</returns>
    /// <exception cref="OpenElmException">They do not go together; all reasons are listed.</exception>
    public QuantizationRecipe ValidatedFor(OpenElmConfig config)
    {
        ArgumentNullException.ThrowIfNull(config);
        var problems = new List<string>();
        if (config.ShareInputOutputLayers && Head is { } head && Embeddings is { } embeddings && head != embeddings)
        {
            problems.Add($"the head is the embedding itself; it cannot be {head} where the embedding is {embeddings}");
        }

        if (IsMlx && ((Embeddings ?? Head)?.IsBlocked() == true || (Embeddings is { } plain && Head is { } other && plain != other)))
        {
            problems.Add("MLX keeps embedding and head in one plain type; choose F32, BF16 or F16 for both");
        }

        return problems is [] ? this : throw OpenElmException.Of($"The recipe {Name} does not fit the model", problems);
    }

    /// <summary>The type of a weight.</summary>
    /// <param name="config">The architecture.</param>
    /// <param name="weight">The weight.</param>
    /// <returns>The type, and why it is another than the recipe's where rows are no whole blocks of that.</returns>
    public TensorFormat FormatOf(OpenElmConfig config, TensorShape weight)
    {
        ArgumentNullException.ThrowIfNull(config);
        return weight.Shape.Length == 1 ? new TensorFormat(IsMlx ? PlainType : DType.F32) : TensorFormat.Fitting(Wanted(config, weight), weight.Shape[^1], PlainType);
    }

    // MLX's type of all that is not quantised; elsewhere what a matrix gets that fits no blocks. No weight exceeds bfloat16's range.
    DType PlainType => IsMlx ? Embeddings ?? Head ?? DType.BF16 : DType.BF16;

    DType Wanted(OpenElmConfig config, TensorShape weight) => weight.Name switch
    {
        TensorNames.Embedding => Embeddings ?? (config.ShareInputOutputLayers ? Head ?? HeadType(weight) : IsMlx ? PlainType : Matrices),
        TensorNames.Classifier => Head ?? HeadType(weight),
        _ => Name == Mixed && HasMoreBits(config, weight.Name) ? DType.Q6_K : Matrices,
    };

    // llama.cpp: 8 bits for the head of 8-bit models, or where rows are no whole blocks; else 6.
    DType HeadType(TensorShape weight) => IsMlx ? PlainType
        : !IsBlocked ? Matrices
        : Matrices == DType.Q8_0 || weight.Shape[^1] % Matrices.BlockElements() != 0 ? DType.Q8_0
        : DType.Q6_K;

    static bool HasMoreBits(OpenElmConfig config, string name)
    {
        if (!name.EndsWith("attn.qkv_proj.weight", StringComparison.Ordinal) && !name.EndsWith("ffn.proj_2.weight", StringComparison.Ordinal))
        {
            return false;
        }

        int layers = config.Layers.Length, layer = int.Parse(name.Split('.')[1], System.Globalization.CultureInfo.InvariantCulture);
        return layer < layers / 8 || layer >= 7 * layers / 8 || (layer - (layers / 8)) % 3 == 2;
    }
}
