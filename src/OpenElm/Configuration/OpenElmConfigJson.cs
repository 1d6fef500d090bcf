using System.Collections.Immutable;
using System.Text;
using System.Text.Json;
using OpenElm.Checkpoints;
using OpenElm.Checkpoints.Mlx;

namespace OpenElm.Configuration;

/// <summary>Reads and writes <c>config.json</c> in the keys of Hugging Face's OpenELM class, plus mlx-lm's <c>rms_norm_eps</c>.</summary>
public static class OpenElmConfigJson
{
    // Keys that other programs write and that do not change the model.
    static readonly ImmutableHashSet<string> ForeignKeys = [
        "architectures", "auto_map", "initializer_range", "torch_dtype", "dtype", "transformers_version", "use_cache", "model_type",
        "activation_fn_name", "normalization_layer_name", "model_name", "pad_token_id", "quantization"];

    /// <summary>Reads a <c>config.json</c>.</summary>
    /// <param name="path">The file.</param>
    /// <returns>The validated configuration.</returns>
    /// <exception cref="OpenElmException">The file is missing, is no JSON, or is no possible OpenELM; all problems are listed.</exception>
    public static OpenElmConfig ReadFile(string path)
    {
        using JsonDocument document = ParseFile(path);
        return Read(document.RootElement, path);
    }

    /// <summary>Parses a <c>config.json</c> of any kind.</summary>
    /// <param name="path">The file.</param>
    /// <returns>The document.</returns>
    /// <exception cref="OpenElmException">The file is missing or is no JSON.</exception>
    internal static JsonDocument ParseFile(string path)
    {
        if (!File.Exists(path))
        {
            throw new OpenElmException($"There is no file {path}; a model folder holds a config.json.");
        }

        return Parse(File.ReadAllText(path), path);
    }

    static JsonDocument Parse(string json, string source)
    {
        JsonDocument? document = null;
        try
        {
            document = JsonDocument.Parse(json);
            RequireText(document.RootElement);
            return document;
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            document?.Dispose();
            throw new OpenElmException($"{source} is not valid JSON: {e.Message}", e);
        }
    }

    // The parser leaves strings alone until somebody reads them: half a surrogate pair would throw there. Depth is limited to 64.
    static void RequireText(JsonElement element)
    {
        switch (element.ValueKind)
        {
            case JsonValueKind.Object:
                foreach (JsonProperty property in element.EnumerateObject())
                {
                    _ = property.Name;
                    RequireText(property.Value);
                }

                break;
            case JsonValueKind.Array:
                foreach (JsonElement item in element.EnumerateArray())
                {
                    RequireText(item);
                }

                break;
            case JsonValueKind.String:
                _ = element.GetString();
                break;
            default:
                break;
        }
    }

    /// <summary>Reads a configuration from text.</summary>
    /// <param name="json">The JSON object.</param>
    /// <param name="source">What to call it in messages.</param>
    /// <param name="strict">Whether unknown keys are problems: for files of ours, not for those of other programs.</param>
    /// <returns>The validated configuration.</returns>
    /// <exception cref="OpenElmException">It is no JSON or no possible OpenELM; all problems are listed.</exception>
    public static OpenElmConfig Read(string json, string source, bool strict = false)
    {
        using JsonDocument document = Parse(json, source);
        return Read(document.RootElement, source, strict);
    }

    /// <summary>Reads a configuration from a parsed JSON object.</summary>
    /// <param name="root">The JSON object.</param>
    /// <param name="source">What to call it in messages.</param>
    /// <param name="strict">Whether unknown keys are problems.</param>
    /// <returns>The validated configuration.</returns>
    /// <exception cref="OpenElmException">It is no possible OpenELM; all problems are listed.</exception>
    public static OpenElmConfig Read(JsonElement root, string source, bool strict = false)
    {
        var problems = new List<string>();
        if (root.ValueKind != JsonValueKind.Object)
        {
            throw new OpenElmException($"{source} must hold one JSON object.");
        }

        var keys = new JsonKeys(root, problems);
        var defaults = new OpenElmConfig();
        keys.MustBe("model_type", "openelm");
        keys.MustBe("activation_fn_name", "swish");
        keys.MustBe("normalization_layer_name", "rms_norm");
        var config = new OpenElmConfig
        {
            VocabSize = keys.Int("vocab_size", defaults.VocabSize),
            MaxContextLength = keys.Int("max_context_length", defaults.MaxContextLength),
            NumTransformerLayers = keys.Int("num_transformer_layers", defaults.NumTransformerLayers),
            ModelDim = keys.Int("model_dim", defaults.ModelDim),
            HeadDim = keys.Int("head_dim", defaults.HeadDim),
            QkvMultipliers = keys.Multipliers("qkv_multipliers", defaults.QkvMultipliers),
            QueryHeadsPerKvHead = keys.Int("num_gqa_groups", defaults.QueryHeadsPerKvHead),
            FfnMultipliers = keys.Multipliers("ffn_multipliers", defaults.FfnMultipliers),
            FfnWithGlu = keys.Bool("ffn_with_glu", defaults.FfnWithGlu),
            FfnDimDivisor = keys.Int("ffn_dim_divisor", defaults.FfnDimDivisor),
            NormalizeQkProjections = keys.Bool("normalize_qk_projections", defaults.NormalizeQkProjections),
            ShareInputOutputLayers = keys.Bool("share_input_output_layers", defaults.ShareInputOutputLayers),
            RopeFreqConstant = keys.Double("rope_freq_constant", defaults.RopeFreqConstant),
            RopeMaxLength = keys.Int("rope_max_length", Math.Max(defaults.RopeMaxLength, 2 * keys.Int("max_context_length", 0))),
            RmsNormEps = keys.Double("rms_norm_eps", defaults.RmsNormEps),
            NumQueryHeads = keys.Ints("num_query_heads"),
            NumKvHeads = keys.Ints("num_kv_heads"),
            BosTokenId = keys.Int("bos_token_id", defaults.BosTokenId),
            EosTokenId = keys.Int("eos_token_id", defaults.EosTokenId),
        };
        if (strict)
        {
            keys.RefuseUnknown(ForeignKeys);
        }

        if (problems is [])
        {
            config.Validate(problems);
        }

        return problems is [] ? WithoutRedundantHeads(config) : throw OpenElmException.Of($"{source} is not a possible OpenELM", problems);
    }

    /// <summary>Writes the configuration as a <c>config.json</c>.</summary>
    /// <param name="config">The architecture.</param>
    /// <param name="dtype">Hugging Face's name of the type of the weights: <c>float32</c>, <c>bfloat16</c> or <c>float16</c>.</param>
    /// <returns>Indented JSON.</returns>
    public static string Write(OpenElmConfig config, string dtype = "float32") => Write(config, dtype, quantised: null);

    /// <summary>Writes the configuration as a <c>config.json</c> for mlx-lm.</summary>
    /// <param name="config">The architecture.</param>
    /// <param name="dtype">Hugging Face's name of the type of the weights that are not quantised.</param>
    /// <param name="quantised">The affine groups of the others, or null.</param>
    /// <returns>Indented JSON.</returns>
    internal static string Write(OpenElmConfig config, string dtype, DType? quantised)
    {
        using var buffer = new MemoryStream();
        using (var writer = new Utf8JsonWriter(buffer, new JsonWriterOptions { Indented = true }))
        {
            writer.WriteStartObject();
            writer.WriteString("activation_fn_name", "swish");
            WriteList(writer, "architectures", ["OpenELMForCausalLM"], writer.WriteStringValue);
            writer.WriteStartObject("auto_map");
            writer.WriteString("AutoConfig", "configuration_openelm.OpenELMConfig");
            writer.WriteString("AutoModelForCausalLM", "modeling_openelm.OpenELMForCausalLM");
            writer.WriteEndObject();
            writer.WriteNumber("bos_token_id", config.BosTokenId);
            writer.WriteNumber("eos_token_id", config.EosTokenId);
            writer.WriteNumber("ffn_dim_divisor", config.FfnDimDivisor);
            // Hugging Face's class keeps this list as it is, and derives the heads from qkv_multipliers.
            WriteList(writer, "ffn_multipliers", config.FfnMultipliers.ForLayers(config.NumTransformerLayers), writer.WriteNumberValue);
            writer.WriteBoolean("ffn_with_glu", config.FfnWithGlu);
            writer.WriteNumber("head_dim", config.HeadDim);
            writer.WriteNumber("initializer_range", 0.02);
            writer.WriteNumber("max_context_length", config.MaxContextLength);
            writer.WriteNumber("model_dim", config.ModelDim);
            writer.WriteString("model_type", "openelm");
            writer.WriteString("normalization_layer_name", "rms_norm");
            writer.WriteBoolean("normalize_qk_projections", config.NormalizeQkProjections);
            writer.WriteNumber("num_gqa_groups", config.QueryHeadsPerKvHead);
            WriteList(writer, "num_kv_heads", config.Layers.Select(layer => layer.KvHeads), writer.WriteNumberValue);
            WriteList(writer, "num_query_heads", config.Layers.Select(layer => layer.QueryHeads), writer.WriteNumberValue);
            writer.WriteNumber("num_transformer_layers", config.NumTransformerLayers);
            if (config.QkvMultipliers.Values is [double single])
            {
                writer.WriteNumber("qkv_multipliers", single);
            }
            else
            {
                WriteList(writer, "qkv_multipliers", config.QkvMultipliers.Values, writer.WriteNumberValue);
            }

            MlxConfig.WriteQuantization(writer, quantised);
            writer.WriteNumber("rms_norm_eps", config.RmsNormEps);
            writer.WriteNumber("rope_freq_constant", config.RopeFreqConstant);
            writer.WriteNumber("rope_max_length", config.RopeMaxLength);
            writer.WriteBoolean("share_input_output_layers", config.ShareInputOutputLayers);
            writer.WriteString("torch_dtype", dtype);
            writer.WriteBoolean("use_cache", true);
            writer.WriteNumber("vocab_size", config.VocabSize);
            writer.WriteEndObject();
        }

        return Encoding.UTF8.GetString(buffer.ToArray()) + "\n";
    }

    /// <summary>What Hugging Face's own class would compute differently from an exported folder.</summary>
    /// <param name="config">The architecture.</param>
    /// <returns>One sentence for each difference; empty when the export is faithful.</returns>
    public static IReadOnlyList<string> HuggingFaceDifferences(OpenElmConfig config)
    {
        var differences = new List<string>();
        if (config.RmsNormEps != 1e-6)
        {
            differences.Add($"Hugging Face's OpenELM class always uses an RMSNorm epsilon of 1e-6; this model uses {config.RmsNormEps}.");
        }

        if (config.NumQueryHeads is not null || config.NumKvHeads is not null)
        {
            differences.Add("Hugging Face's OpenELM class derives the head counts from qkv_multipliers; this model lists them explicitly.");
        }

        return differences;
    }

    static void WriteList<T>(Utf8JsonWriter writer, string key, IEnumerable<T> values, Action<T> write)
    {
        writer.WriteStartArray(key);
        foreach (T value in values)
        {
            write(value);
        }

        writer.WriteEndArray();
    }

    // Every config.json lists the heads; they are explicit only where α does not give them.
    static OpenElmConfig WithoutRedundantHeads(OpenElmConfig config)
    {
        OpenElmConfig derived = config with { NumQueryHeads = null, NumKvHeads = null };
        return Derivable(derived) && derived.Layers.SequenceEqual(config.Layers) ? derived : config;
    }

    static bool Derivable(OpenElmConfig config)
    {
        var problems = new List<string>();
        config.Validate(problems);
        return problems is [];
    }
}
