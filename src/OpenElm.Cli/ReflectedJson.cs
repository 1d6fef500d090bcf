using System.Text.Json;
using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;

namespace OpenElm.Cli;

/// <summary>JSON documents of any type: this program always has the runtime's reflection, so its own verbs need no generated code.</summary>
internal static class ReflectedJson
{
    static readonly JsonSerializerOptions Format = new(CommandJson.Format)
    {
        TypeInfoResolver = new DefaultJsonTypeInfoResolver(),
        Converters = { new JsonStringEnumConverter(JsonNamingPolicy.SnakeCaseLower) },
    };

    /// <summary>Writes the verb's one machine-readable document; keys are snake_case.</summary>
    /// <typeparam name="T">A record of results.</typeparam>
    /// <param name="context">Where to.</param>
    /// <param name="document">The results.</param>
    public static void WriteJson<T>(this CommandContext context, T document) => context.Output.WriteLine(JsonSerializer.Serialize(document, Format));
}
