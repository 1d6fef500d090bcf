using System.Collections.Immutable;
using System.Text;
using System.Text.Json;
using OpenElm.Checkpoints;

namespace OpenElm.Adapters;

/// <summary>
/// PEFT's <c>adapter_config.json</c> of a LoRA adapter: one rank, α, dropout and so on for all modules, and patterns for those with another
/// rank or α. What it can say and we do not support is refused by its key; keys that do not change the numbers are passed over.
/// </summary>
internal sealed class PeftConfig
{
    // Keys that would change what the tensors mean, and the values with which they do not.
    static readonly (string Key, string[] Harmless)[] Unsupported =
    [
        ("bias", ["none"]), ("fan_in_fan_out", ["false"]), ("lora_bias", ["false"]), ("modules_to_save", ["[]"]), ("layer_replication", ["[]"]),
        ("megatron_config", []), ("use_qalora", ["false"]), ("alora_invocation_tokens", []), ("target_parameters", ["[]"]), ("trainable_token_indices", ["[]"]), ("arrow_config", []),
    ];

    // PEFT has one use_dora for all; where only some modules have a magnitude, this key of ours lists them, and PEFT's loader objects.
    const string DoraModules = "openelm_dora_modules";

    readonly ImmutableArray<(string Pattern, double Value)> _ranks, _alphas;
    readonly ImmutableArray<string>? _targets, _doraModules;
    readonly string? _targetExpression;
    readonly bool _usesDora;

    PeftConfig(JsonElement root, List<string> problems)
    {
        Rank = (int)Number(root, "r", 8, problems);
        Alpha = Number(root, "lora_alpha", 8, problems);
        Dropout = Number(root, "lora_dropout", 0, problems);
        RsLora = Flag(root, "use_rslora", problems);
        _usesDora = Flag(root, "use_dora", problems);
        _ranks = Patterns(root, "rank_pattern", problems);
        _alphas = Patterns(root, "alpha_pattern", problems);
        Initialization = ReadInitialization(root, problems);
        _targets = Texts(root, "target_modules");
        _doraModules = Texts(root, DoraModules);
        _targetExpression = root.TryGetProperty("target_modules", out JsonElement targets) && targets.ValueKind == JsonValueKind.String ? targets.GetString() : null;
    }

    /// <summary>The rank where no pattern says another.</summary>
    public int Rank { get; }

    /// <summary>The α where no pattern says another.</summary>
    public double Alpha { get; }

    /// <summary>Dropout of all modules.</summary>
    public double Dropout { get; }

    /// <summary>Scaling of all modules.</summary>
    public bool RsLora { get; }

    /// <summary>How the matrices started.</summary>
    public AdapterInitialization Initialization { get; }

    /// <summary>The rank of a module.</summary>
    /// <param name="module">CoreNet's name.</param>
    public int RankOf(string module) => (int)ValueOf(module, _ranks, Rank);

    /// <summary>The α of a module.</summary>
    /// <param name="module">CoreNet's name.</param>
    public double AlphaOf(string module) => ValueOf(module, _alphas, Alpha);

    /// <summary>Whether a module has a magnitude.</summary>
    /// <param name="module">The module.</param>
    public bool DoraOf(AdaptableModule module) =>
        _doraModules is { } modules ? modules.Contains(HuggingFaceNames.FromCoreNet(module.Name)) : _usesDora && !module.IsEmbedding;

    /// <summary>Whether the adapter is said to be for a module.</summary>
    /// <param name="module">CoreNet's name.</param>
    public bool Targets(string module)
    {
        string name = HuggingFaceNames.FromCoreNet(module);
        return _targets is { } targets
            ? targets.Any(target => name == target || name.EndsWith("." + target, StringComparison.Ordinal))
            : _targetExpression is { } expression && (expression == "all-linear" ? module.StartsWith("layers.", StringComparison.Ordinal) : NameExpression.Parse($"(?:{expression})\\z").Matches(name));
    }

    /// <summary>Reads the file.</summary>
    /// <param name="path">The file.</param>
    /// <returns>The settings.</returns>
    /// <exception cref="OpenElmException">It is missing or damaged, or describes what is not supported.</exception>
    public static PeftConfig Read(string path)
    {
        try
        {
            using JsonDocument document = JsonDocument.Parse(File.ReadAllBytes(path));
            JsonElement root = document.RootElement;
            if (root.ValueKind != JsonValueKind.Object || !root.TryGetProperty("peft_type", out JsonElement type) || type.ValueKind != JsonValueKind.String)
            {
                throw new OpenElmException($"{path} is no configuration of an adapter: it has no peft_type.");
            }

            if (type.GetString() != "LORA")
            {
                throw new OpenElmException($"{path} describes an adapter of the type {type.GetString()}; LORA (with or without use_dora) is supported.");
            }

            var problems = new List<string>();
            var config = new PeftConfig(root, problems);
            foreach ((string key, string[] harmless) in Unsupported)
            {
                if (root.TryGetProperty(key, out JsonElement value) && value.ValueKind != JsonValueKind.Null
                    && !harmless.Contains(value.ValueKind == JsonValueKind.String ? value.GetString()! : value.GetRawText()))
                {
                    problems.Add($"{key} is {value.GetRawText()}, which is not supported");
                }
            }

            return problems is [] ? config : throw OpenElmException.Of($"The adapter's configuration {path} cannot be used", problems);
        }
        catch (Exception e) when (e is JsonException or IOException or UnauthorizedAccessException or InvalidOperationException) // the last: texts that are no Unicode
        {
            throw new OpenElmException($"Cannot read {path}: {e.Message}", e);
        }
    }

    /// <summary>Writes the file's text.</summary>
    /// <param name="modules">The adapted modules.</param>
    /// <param name="baseModel">What the adapter was trained on, for people; null leaves it open.</param>
    /// <returns>JSON.</returns>
    public static string Write(IReadOnlyList<AdaptedModule> modules, string? baseModel)
    {
        bool rsLora = modules.All(module => module.RsLora);
        // Where only some modules are scaled by the root, α says what the division by the rank shall give.
        Dictionary<string, double> ranks = modules.ToDictionary(module => module.Name, module => (double)module.Rank);
        Dictionary<string, double> alphas = modules.ToDictionary(module => module.Name, module => module.RsLora == rsLora ? module.Alpha : module.Scaling * module.Rank);
        (double rank, double alpha) = (MostFrequent(ranks.Values), MostFrequent(alphas.Values));
        AdapterInitialization initialization = modules.FirstOrDefault(module => !module.IsEmbedding)?.Initialization ?? AdapterInitialization.KaimingUniform;

        using var buffer = new MemoryStream();
        using (var writer = new Utf8JsonWriter(buffer, new JsonWriterOptions { Indented = true }))
        {
            writer.WriteStartObject();
            WritePatterns(writer, "alpha_pattern", alphas, alpha);
            writer.WriteNull("auto_mapping");
            writer.WriteString("base_model_name_or_path", baseModel);
            writer.WriteString("bias", "none");
            writer.WriteBoolean("fan_in_fan_out", false);
            writer.WriteBoolean("inference_mode", true);
            if (initialization == AdapterInitialization.Gaussian)
            {
                writer.WriteString("init_lora_weights", "gaussian");
            }
            else
            {
                writer.WriteBoolean("init_lora_weights", true);
            }

            writer.WriteNull("layers_pattern");
            writer.WriteNull("layers_to_transform");
            WriteNumber(writer, "lora_alpha", alpha);
            WriteNumber(writer, "lora_dropout", modules.Max(module => module.Dropout));
            writer.WriteNull("modules_to_save");
            if (HasMixedDora(modules))
            {
                WriteNames(writer, DoraModules, modules.Where(module => module.Dora));
            }

            writer.WriteString("peft_type", "LORA");
            WriteNumber(writer, "r", rank);
            WritePatterns(writer, "rank_pattern", ranks, rank);
            writer.WriteNull("revision");
            WriteNames(writer, "target_modules", modules);
            writer.WriteString("task_type", "CAUSAL_LM");
            writer.WriteBoolean("use_dora", modules.Any(module => module.Dora));
            writer.WriteBoolean("use_rslora", rsLora);
            writer.WriteEndObject();
        }

        return Encoding.UTF8.GetString(buffer.ToArray()) + "\n";
    }

    /// <summary>Whether some modules have a magnitude and others do not, which PEFT cannot say.</summary>
    public static bool HasMixedDora(IReadOnlyCollection<AdaptedModule> modules) => modules.Any(module => module.Dora) && modules.Any(module => !module.Dora);

    static ImmutableArray<string>? Texts(JsonElement root, string key) =>
        root.TryGetProperty(key, out JsonElement value) && value.ValueKind == JsonValueKind.Array && value.EnumerateArray().All(item => item.ValueKind == JsonValueKind.String)
            ? [.. value.EnumerateArray().Select(item => item.GetString()!)] : null;

    static void WriteNames(Utf8JsonWriter writer, string key, IEnumerable<AdaptedModule> modules)
    {
        writer.WriteStartArray(key);
        foreach (AdaptedModule module in modules)
        {
            writer.WriteStringValue(HuggingFaceNames.FromCoreNet(module.Name));
        }

        writer.WriteEndArray();
    }

    static double MostFrequent(IEnumerable<double> values) => values.GroupBy(value => value).MaxBy(group => group.Count())!.Key;

    static void WritePatterns(Utf8JsonWriter writer, string key, Dictionary<string, double> values, double usual)
    {
        writer.WriteStartObject(key);
        foreach ((string module, double value) in values.Where(pair => pair.Value != usual))
        {
            WriteNumber(writer, HuggingFaceNames.FromCoreNet(module), value);
        }

        writer.WriteEndObject();
    }

    static void WriteNumber(Utf8JsonWriter writer, string key, double value)
    {
        if (double.IsInteger(value) && Math.Abs(value) < 1e15)
        {
            writer.WriteNumber(key, (long)value); // PEFT's own types are whole numbers
        }
        else
        {
            writer.WriteNumber(key, value);
        }
    }

    // PEFT's rule: the first pattern that matches the end of the name, behind a dot or from its start.
    static double ValueOf(string module, ImmutableArray<(string Pattern, double Value)> patterns, double usual)
    {
        string name = HuggingFaceNames.FromCoreNet(module);
        foreach ((string pattern, double value) in patterns)
        {
            if (name == pattern || name.EndsWith("." + pattern, StringComparison.Ordinal) || NameExpression.Parse($"(?:.*\\.)?(?:{pattern})\\z").Matches(name))
            {
                return value;
            }
        }

        return usual;
    }

    static double Number(JsonElement root, string key, double missing, List<string> problems)
    {
        if (!root.TryGetProperty(key, out JsonElement value))
        {
            return missing;
        }

        if (value.ValueKind == JsonValueKind.Number && value.TryGetDouble(out double number) && double.IsFinite(number) && (key != "r" || number is >= 1 and <= 1 << 16))
        {
            return number;
        }

        problems.Add($"{key} is {value.GetRawText()}, which it cannot be");
        return missing;
    }

    static bool Flag(JsonElement root, string key, List<string> problems)
    {
        if (!root.TryGetProperty(key, out JsonElement value) || value.ValueKind == JsonValueKind.Null)
        {
            return false;
        }

        if (value.ValueKind is JsonValueKind.True or JsonValueKind.False)
        {
            return value.GetBoolean();
        }

        problems.Add($"{key} is {value.GetRawText()}; it must be true or false");
        return false;
    }

    static ImmutableArray<(string Pattern, double Value)> Patterns(JsonElement root, string key, List<string> problems)
    {
        if (!root.TryGetProperty(key, out JsonElement value) || value.ValueKind == JsonValueKind.Null)
        {
            return [];
        }

        if (value.ValueKind == JsonValueKind.Object && value.EnumerateObject().All(entry =>
            entry.Value.ValueKind == JsonValueKind.Number && double.IsFinite(entry.Value.GetDouble()) && NameExpression.Problem(entry.Name) is null))
        {
            return [.. value.EnumerateObject().Select(entry => (entry.Name, entry.Value.GetDouble()))];
        }

        problems.Add($"{key} must map expressions to numbers");
        return [];
    }

    static AdapterInitialization ReadInitialization(JsonElement root, List<string> problems)
    {
        if (!root.TryGetProperty("init_lora_weights", out JsonElement value) || value.ValueKind is JsonValueKind.True or JsonValueKind.False or JsonValueKind.Null)
        {
            return AdapterInitialization.KaimingUniform;
        }

        string? name = value.ValueKind == JsonValueKind.String ? value.GetString() : null;
        if (name is not ("gaussian" or "eva" or "orthogonal"))
        {
            // PiSSA, OLoRA, LoftQ and CorDA subtract the first product from the base weights.
            problems.Add($"init_lora_weights is {value.GetRawText()}, which changes the base weights; save the adapter converted to a plain LoRA");
        }

        return name == "gaussian" ? AdapterInitialization.Gaussian : AdapterInitialization.KaimingUniform;
    }
}
