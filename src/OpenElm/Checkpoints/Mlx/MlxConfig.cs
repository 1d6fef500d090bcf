using System.Text;
using System.Text.Json;
using OpenElm.Configuration;

namespace OpenElm.Checkpoints.Mlx;

/// <summary>
/// The <c>config.json</c> of Apple's MLX example: CoreNet's <c>general_gpt</c> block, which names one of CoreNet's built-in
/// architectures, and perhaps the quantisation.
/// </summary>
internal static class MlxConfig
{
    public const string ModelName = "model_name";

    // CoreNet's names → ours.
    static readonly Dictionary<string, string> Names = new()
    {
        ["OpenELM-270M"] = "openelm-270m",
        ["OpenELM-450M"] = "openelm-450m",
        ["OpenELM-1_1B"] = "openelm-1.1b",
        ["OpenELM-3B"] = "openelm-3b",
        ["gpt-test"] = "gpt-test",
    };

    /// <summary>Whether a <c>config.json</c> is of this kind, not of Hugging Face's.</summary>
    public static bool Is(JsonElement root) =>
        root.ValueKind == JsonValueKind.Object && root.TryGetProperty(ModelName, out _) && !root.TryGetProperty("model_type", out _) && !root.TryGetProperty("model_dim", out _);

    public static OpenElmConfig Read(JsonElement root, string source)
    {
        var problems = new List<string>();
        var keys = new JsonKeys(root, problems);
        string? name = root.GetProperty(ModelName) is { ValueKind: JsonValueKind.String } value ? value.GetString() : null;
        if (name is null || !Names.TryGetValue(name, out string? known))
        {
            throw new OpenElmException($"{source}: {ModelName} is {root.GetProperty(ModelName).GetRawText()}; the known ones are {string.Join(", ", Names.Keys)}.");
        }

        OpenElmConfig shipped = NamedConfigs.Get(known);
        int context = keys.Int("max_context_length", shipped.MaxContextLength);
        OpenElmConfig config = shipped with
        {
            VocabSize = keys.Int("vocab_size", shipped.VocabSize),
            MaxContextLength = context,
            RopeMaxLength = (int)Math.Min(int.MaxValue, Math.Max(shipped.RopeMaxLength, 2L * context)),
        };
        if (problems is [])
        {
            config.Validate(problems);
        }

        return problems is [] ? config : throw OpenElmException.Of($"{source} is not a possible OpenELM", problems);
    }

    /// <summary>CoreNet's name of an architecture.</summary>
    /// <exception cref="OpenElmException">It is none of CoreNet's.</exception>
    public static string NameOf(OpenElmConfig config)
    {
        foreach ((string coreNet, string known) in Names)
        {
            OpenElmConfig shipped = NamedConfigs.Get(known);
            if (shipped with { VocabSize = config.VocabSize, MaxContextLength = config.MaxContextLength, RopeMaxLength = config.RopeMaxLength, BosTokenId = config.BosTokenId, EosTokenId = config.EosTokenId } == config)
            {
                return coreNet;
            }
        }

        throw new OpenElmException($"Apple's MLX folders name one of CoreNet's architectures ({string.Join(", ", Names.Keys)}), and this model is none of them; write an mlx-lm folder instead (--to mlx-lm).");
    }

    public static string Write(OpenElmConfig config, DType? quantised)
    {
        using var buffer = new MemoryStream();
        using (var writer = new Utf8JsonWriter(buffer, new JsonWriterOptions { Indented = true }))
        {
            writer.WriteStartObject();
            writer.WriteString(ModelName, NameOf(config));
            writer.WriteNumber("vocab_size", config.VocabSize);
            writer.WriteNumber("max_context_length", config.MaxContextLength);
            WriteQuantization(writer, quantised);
            writer.WriteEndObject();
        }

        return Encoding.UTF8.GetString(buffer.ToArray()) + "\n";
    }

    /// <summary>The block that tells MLX which layers are quantised: those that have scales.</summary>
    public static void WriteQuantization(Utf8JsonWriter writer, DType? quantised)
    {
        if (quantised is { } type)
        {
            writer.WriteStartObject("quantization");
            writer.WriteNumber("group_size", type.BlockElements());
            writer.WriteNumber("bits", AffineGroups.Bits(type));
            writer.WriteEndObject();
        }
    }
}
