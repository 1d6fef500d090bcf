using OpenElm.Checkpoints;

namespace OpenElm.Adapters;

/// <summary>A tensor of an adapted module.</summary>
public enum AdapterPart
{
    /// <summary>[rank, inputs].</summary>
    A,

    /// <summary>[outputs, rank].</summary>
    B,

    /// <summary>[outputs]: DoRA's length of every row.</summary>
    Magnitude,
}

/// <summary>The name of an adapter's tensor, in CoreNet's spelling and in that of Hugging Face's PEFT.</summary>
/// <param name="Module">CoreNet's name of the module, such as <c>layers.0.attn.qkv_proj</c>.</param>
/// <param name="IsEmbedding">Whether the tensor is of an embedding, where the names differ.</param>
/// <param name="Part">Which tensor.</param>
/// <param name="Adapter">The adapter's name; null where files leave it out, as PEFT's do.</param>
public readonly record struct AdapterTensor(string Module, bool IsEmbedding, AdapterPart Part, string? Adapter = null)
{
    const string PeftPrefix = "base_model.model.", Begin = ".lora_", Weight = "weight";
    const string A = "lora_A", B = "lora_B", EmbeddingA = "lora_embedding_A", EmbeddingB = "lora_embedding_B", Magnitude = "lora_magnitude_vector";

    string Kind => Part switch
    {
        AdapterPart.Magnitude => Magnitude,
        AdapterPart.A => IsEmbedding ? EmbeddingA : A,
        _ => IsEmbedding ? EmbeddingB : B,
    };

    // A and B of linear layers are modules with a weight; the others are parameters themselves.
    bool HasWeight => Part != AdapterPart.Magnitude && !IsEmbedding;

    /// <summary>Whether a text can be an adapter's name.</summary>
    /// <param name="name">The text.</param>
    /// <returns>False where it would confuse the names of tensors.</returns>
    public static bool IsName(string name) => !string.IsNullOrEmpty(name) && name != Weight && name.All(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_');

    /// <summary>CoreNet's name, for example <c>layers.0.attn.qkv_proj.lora_A.lora.weight</c>; the project's own.</summary>
    /// <returns>The name.</returns>
    public string ToCoreNet() => $"{Module}.{Kind}.{Adapter ?? "lora"}{(HasWeight ? "." + Weight : "")}";

    /// <summary>The name in PEFT's files, for example <c>base_model.model.transformer.layers.0.attn.qkv_proj.lora_A.weight</c>.</summary>
    /// <returns>The name.</returns>
    public string ToPeft() => $"{PeftPrefix}{HuggingFaceNames.FromCoreNet(Module)}.{Kind}{(HasWeight ? "." + Weight : "")}";

    /// <summary>Reads a name in either spelling, with or without the adapter's name.</summary>
    /// <param name="name">The name of a tensor.</param>
    /// <param name="tensor">What it names.</param>
    /// <returns>False where it is no tensor of an adapter.</returns>
    public static bool TryParse(string name, out AdapterTensor tensor)
    {
        ArgumentNullException.ThrowIfNull(name);
        tensor = default;
        string bare = HuggingFaceNames.ToCoreNet(name.StartsWith(PeftPrefix, StringComparison.Ordinal) ? name[PeftPrefix.Length..] : name);
        int begin = bare.IndexOf(Begin, StringComparison.Ordinal);
        if (begin < 0)
        {
            return false;
        }

        string[] rest = bare[(begin + 1)..].Split('.');
        (bool isEmbedding, AdapterPart part)? kind = rest[0] switch
        {
            A => (false, AdapterPart.A),
            B => (false, AdapterPart.B),
            EmbeddingA => (true, AdapterPart.A),
            EmbeddingB => (true, AdapterPart.B),
            Magnitude => (false, AdapterPart.Magnitude),
            _ => null,
        };
        if (kind is not var (embedding, which) || rest is not ([_] or [_, _] or [_, _, Weight]))
        {
            return false;
        }

        tensor = new AdapterTensor(bare[..begin], embedding, which, rest.Length > 1 && rest[1] != Weight ? rest[1] : null);
        return true;
    }
}
