using System.Collections.Immutable;
using System.Text.Json;

namespace OpenElm.Inference.Constraints;

/// <summary>
/// Translates a JSON schema to the pattern of its documents, written compactly, with members in the schema's order. What a
/// schema may say and the pattern cannot is refused by name, never ignored.
/// </summary>
internal sealed class JsonSchemaReader
{
    // They describe and do not constrain.
    static readonly ImmutableHashSet<string> Annotations = ["title", "description", "$schema", "$id", "$comment", "default", "examples", "deprecated", "readOnly", "writeOnly"];

    static readonly ImmutableDictionary<string, string[]> KeywordsOfType = new Dictionary<string, string[]>
    {
        ["object"] = ["properties", "required", "additionalProperties"],
        ["array"] = ["items", "minItems", "maxItems"],
        ["string"] = ["minLength", "maxLength", "pattern"],
        ["number"] = [],
        ["integer"] = [],
        ["boolean"] = [],
        ["null"] = [],
    }.ToImmutableDictionary();

    readonly List<string> _problems = [];

    /// <summary>Reads a schema.</summary>
    /// <param name="schema">JSON.</param>
    /// <returns>The pattern of its documents.</returns>
    /// <exception cref="OpenElmException">It is no JSON, or not supported; every problem is listed with its path.</exception>
    public static Pattern Read(string schema)
    {
        JsonDocument document;
        try
        {
            document = JsonDocument.Parse(schema);
        }
        catch (JsonException e)
        {
            throw new OpenElmException($"The JSON schema is no JSON: {e.Message}", e);
        }

        using (document)
        {
            var reader = new JsonSchemaReader();
            Pattern pattern = reader.Value(document.RootElement, "$");
            return reader._problems is [] ? pattern : throw OpenElmException.Of("This JSON schema cannot be a constraint", reader._problems);
        }
    }

    Pattern Value(JsonElement schema, string path)
    {
        if (schema.ValueKind != JsonValueKind.Object)
        {
            return Problem(path, $"is {schema.ValueKind}; a schema is an object, which says what is allowed");
        }

        ImmutableArray<string> types = Types(schema, path);
        CheckKeywords(schema, types, path);
        if (schema.TryGetProperty("const", out JsonElement constant))
        {
            return Literals([constant], types, path + ".const");
        }

        if (schema.TryGetProperty("enum", out JsonElement values))
        {
            return values.ValueKind == JsonValueKind.Array && values.GetArrayLength() > 0
                ? Literals(values.EnumerateArray(), types, path + ".enum")
                : Problem(path + ".enum", "must be an array of at least one value");
        }

        if (schema.TryGetProperty("anyOf", out JsonElement choices))
        {
            return choices.ValueKind == JsonValueKind.Array && choices.GetArrayLength() > 0
                ? new Pattern.Alternatives([.. choices.EnumerateArray().Select((choice, i) => Value(choice, $"{path}.anyOf[{i}]"))])
                : Problem(path + ".anyOf", "must be an array of at least one schema");
        }

        return types.IsEmpty
            ? Problem(path, "says neither type, enum, const nor anyOf; say what is allowed")
            : new Pattern.Alternatives([.. types.Select(type => OfType(type, schema, path))]);
    }

    ImmutableArray<string> Types(JsonElement schema, string path)
    {
        if (!schema.TryGetProperty("type", out JsonElement type))
        {
            return [];
        }

        var types = ImmutableArray.CreateBuilder<string>();
        foreach (JsonElement name in type.ValueKind == JsonValueKind.Array ? type.EnumerateArray().ToArray() : [type])
        {
            if (name.ValueKind == JsonValueKind.String && KeywordsOfType.ContainsKey(name.GetString()!))
            {
                types.Add(name.GetString()!);
            }
            else
            {
                Problem(path + ".type", $"is {name}; types are {string.Join(", ", KeywordsOfType.Keys.Order())}");
            }
        }

        return types.ToImmutable();
    }

    void CheckKeywords(JsonElement schema, ImmutableArray<string> types, string path)
    {
        string[] exclusive = ["const", "enum", "anyOf"];
        string? alone = exclusive.FirstOrDefault(keyword => schema.TryGetProperty(keyword, out _));
        foreach (JsonProperty property in schema.EnumerateObject())
        {
            if (Annotations.Contains(property.Name) || property.Name == alone || (property.Name == "type" && alone != "anyOf"))
            {
                continue;
            }

            if (alone is not null)
            {
                Problem($"{path}.{property.Name}", $"is not supported beside {alone}");
            }
            else if (!types.Any(type => KeywordsOfType[type].Contains(property.Name)))
            {
                Problem($"{path}.{property.Name}", KeywordsOfType.Values.Any(keywords => keywords.Contains(property.Name)) ? "does not belong to the type" : "is a keyword that is not supported");
            }
        }
    }

    Pattern OfType(string type, JsonElement schema, string path) => type switch
    {
        "object" => Object(schema, path),
        "array" => Array(schema, path),
        "string" => String(schema, path),
        "number" => JsonText.Number,
        "integer" => JsonText.Integer,
        "boolean" => new Pattern.Alternatives([Pattern.Text("true"), Pattern.Text("false")]),
        _ => Pattern.Text("null"),
    };

    Pattern Object(JsonElement schema, string path)
    {
        if (!schema.TryGetProperty("properties", out JsonElement properties) || properties.ValueKind != JsonValueKind.Object)
        {
            return Problem(path, "is an object without properties; name them, for only those are generated");
        }

        if (schema.TryGetProperty("additionalProperties", out JsonElement additional) && additional.ValueKind is not (JsonValueKind.False or JsonValueKind.True))
        {
            Problem(path + ".additionalProperties", "is supported as true or false; only the named properties are generated either way");
        }

        HashSet<string> required = [];
        if (schema.TryGetProperty("required", out JsonElement names))
        {
            if (names.ValueKind != JsonValueKind.Array || names.EnumerateArray().Any(name => name.ValueKind != JsonValueKind.String))
            {
                return Problem(path + ".required", "must be an array of names");
            }

            required = [.. names.EnumerateArray().Select(name => name.GetString()!)];
        }

        var members = ImmutableArray.CreateBuilder<(Pattern, bool)>();
        foreach (JsonProperty property in properties.EnumerateObject())
        {
            Pattern value = Value(property.Value, $"{path}.properties.{property.Name}");
            members.Add((Pattern.Of(JsonText.Quoted(property.Name), JsonText.Colon, value), required.Remove(property.Name)));
        }

        foreach (string name in required)
        {
            Problem(path + ".required", $"names {name}, which is none of the properties");
        }

        return Pattern.Of(Pattern.Text("{"), new Pattern.SeparatedList(members.ToImmutable(), JsonText.Comma), Pattern.Text("}"));
    }

    Pattern Array(JsonElement schema, string path)
    {
        if (!schema.TryGetProperty("items", out JsonElement items))
        {
            return Problem(path, "is an array without items; say what its items are");
        }

        (int least, int? most) = Range(schema, "minItems", "maxItems", path);
        Pattern item = Value(items, path + ".items");
        Pattern? some = most == 0 ? null : Pattern.Of(item, new Pattern.Repeat(Pattern.Of(JsonText.Comma, item), Math.Max(0, least - 1), most - 1));
        return Pattern.Of(Pattern.Text("["), some is null ? Pattern.Empty : least == 0 ? some.Optional() : some, Pattern.Text("]"));
    }

    Pattern String(JsonElement schema, string path)
    {
        (int least, int? most) = Range(schema, "minLength", "maxLength", path);
        if (!schema.TryGetProperty("pattern", out JsonElement expression))
        {
            return JsonText.Quoted(new Pattern.Repeat(JsonText.Character, least, most));
        }

        if (least > 0 || most is not null)
        {
            return Problem(path + ".pattern", "is not supported together with minLength or maxLength; count in the pattern: {1,20}");
        }

        if (expression.ValueKind != JsonValueKind.String)
        {
            return Problem(path + ".pattern", "must be a string");
        }

        try
        {
            (Pattern pattern, bool start, bool end) = RegexParser.Parse(expression.GetString()!);
            var anything = new Pattern.Repeat(JsonText.Character, 0, null); // a schema's pattern may match anywhere
            return JsonText.Quoted(Pattern.Of(start ? Pattern.Empty : anything, JsonText.Escaped(pattern), end ? Pattern.Empty : anything));
        }
        catch (OpenElmException e)
        {
            return Problem(path + ".pattern", e.Message);
        }
    }

    Pattern.Alternatives Literals(IEnumerable<JsonElement> values, ImmutableArray<string> types, string path)
    {
        var texts = ImmutableArray.CreateBuilder<Pattern>();
        foreach (JsonElement value in values)
        {
            string text = value.GetRawText();
            bool fits = types.IsEmpty || types.Any(type => type switch
            {
                "object" => value.ValueKind == JsonValueKind.Object,
                "array" => value.ValueKind == JsonValueKind.Array,
                "string" => value.ValueKind == JsonValueKind.String,
                "number" => value.ValueKind == JsonValueKind.Number,
                "integer" => value.ValueKind == JsonValueKind.Number && value.GetDouble() % 1 == 0,
                "boolean" => value.ValueKind is JsonValueKind.True or JsonValueKind.False,
                _ => value.ValueKind == JsonValueKind.Null,
            });
            texts.Add(fits ? Pattern.Text(text) : Problem(path, $"has {text}, which is not of the type"));
        }

        return new Pattern.Alternatives(texts.ToImmutable());
    }

    (int Least, int? Most) Range(JsonElement schema, string minimum, string maximum, string path)
    {
        int? Count(string keyword)
        {
            if (!schema.TryGetProperty(keyword, out JsonElement value))
            {
                return null;
            }

            if (value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out int count) && count is >= 0 and <= 10_000)
            {
                return count;
            }

            Problem($"{path}.{keyword}", $"is {value}; it must be a number from 0 to 10000");
            return null;
        }

        (int least, int? most) = (Count(minimum) ?? 0, Count(maximum));
        if (most < least)
        {
            Problem($"{path}.{maximum}", $"is {most}, below {minimum}");
        }

        return (least, most);
    }

    Pattern Problem(string path, string what)
    {
        _problems.Add($"{path} {what}");
        return Pattern.Empty;
    }
}
