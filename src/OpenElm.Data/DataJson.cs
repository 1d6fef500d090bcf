using System.Text.Json.Serialization;

namespace OpenElm.Data;

/// <summary>Reads and writes the JSON of this assembly without reflection.</summary>
[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower,
    UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow,
    RespectNullableAnnotations = true,
    RespectRequiredConstructorParameters = true)]
[JsonSerializable(typeof(DataPosition))]
[JsonSerializable(typeof(ExamplePosition))]
[JsonSerializable(typeof(PreparedManifest))]
internal sealed partial class DataJson : JsonSerializerContext;
