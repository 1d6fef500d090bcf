using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using OpenElm.Checkpoints;
using OpenElm.Inference;
using OpenElm.Inference.Generation;

namespace OpenElm.Commands;

/// <summary>The JSON documents of the verbs, written by generated code: a natively compiled program has no reflection to find properties with.</summary>
[JsonSerializable(typeof(BeamDocument))]
[JsonSerializable(typeof(BenchDocument))]
[JsonSerializable(typeof(ChatDocument))]
[JsonSerializable(typeof(GenerateDocument))]
[JsonSerializable(typeof(JsonObject[]))]
[JsonSerializable(typeof(MachineReport))]
[JsonSerializable(typeof(ModelDocument))]
[JsonSerializable(typeof(PerplexityDocument))]
[JsonSerializable(typeof(ScoreDocument))]
[JsonSerializable(typeof(ThroughputDocument))]
internal sealed partial class CommandJson : JsonSerializerContext
{
    /// <summary>How every document is written.</summary>
    public static JsonSerializerOptions Format { get; } = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        WriteIndented = true,
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping, // no HTML here: text stays readable
        NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals,
        Converters = { new SnakeCase<CheckpointFormat>(), new SnakeCase<DType>(), new SnakeCase<FinishReason>(), new SnakeCase<KvCacheType>() },
    };

    /// <summary>The documents in this format.</summary>
    public static CommandJson Documents { get; } = new(new JsonSerializerOptions(Format));

    sealed class SnakeCase<T>() : JsonStringEnumConverter<T>(JsonNamingPolicy.SnakeCaseLower)
        where T : struct, Enum;
}
