using System.Text.Json;
using System.Text.RegularExpressions;
using OpenElm.Inference.Constraints;

namespace OpenElm.Inference.Tests.Constraints;

/// <summary>JSON schemas with System.Text.Json and a plain validator as referees.</summary>
public sealed class JsonSchemaTests
{
    public static TheoryData<string> Schemas =>
    [
        """{"type":"string"}""",
        """{"type":"string","minLength":2,"maxLength":4}""",
        """{"type":"string","pattern":"^[\"\\\\a-c\\n]{1,4}$"}""",
        """{"type":"string","pattern":"^.{0,5}b[0-9]+"}""",
        """{"type":"number"}""",
        """{"type":"integer"}""",
        """{"type":"boolean"}""",
        """{"type":["string","null","integer"]}""",
        """{"enum":["red","green",3,null,{"a": [1, 2]},"\u00e9\n"]}""",
        """{"const":"only \"this\""}""",
        """{"type":"array","items":{"type":"boolean"}}""",
        """{"type":"array","items":{"type":"integer"},"minItems":2,"maxItems":3}""",
        """{"type":"array","items":{"type":"array","items":{"type":"null"},"maxItems":2},"minItems":1}""",
        """{"type":"array","items":{"type":"null"},"maxItems":0}""",
        """{"type":"object","properties":{}}""",
        """{"type":"object","properties":{"a":{"type":"boolean"},"b":{"type":"null"},"c":{"type":"integer"}}}""",
        """{"type":"object","properties":{"a":{"type":"boolean"},"b":{"type":"null"},"c":{"type":"integer"}},"required":["b"],"additionalProperties":false}""",
        """{"type":"object","properties":{"a\"b\\\té":{"type":"boolean"}},"required":["a\"b\\\té"]}""",
        """
        {
          "$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Person", "description": "Somebody.", "type": "object",
          "properties": {
            "name": { "type": "string", "minLength": 1, "maxLength": 20 },
            "age": { "type": "integer" },
            "size": { "type": "number" },
            "pets": { "type": "array", "maxItems": 3, "items": { "type": "object", "properties": { "kind": { "type": "string", "enum": ["cat", "dog"] }, "name": { "type": ["string", "null"] } }, "required": ["kind"] } },
            "home": { "anyOf": [ { "type": "null" }, { "type": "object", "properties": { "street": { "type": "string" } }, "required": ["street"] } ] }
          },
          "required": ["name", "pets"], "additionalProperties": false
        }
        """,
    ];

    [Theory, MemberData(nameof(Schemas))]
    public void Every_finished_output_is_a_document_of_the_schema(string schema)
    {
        OutputConstraint constraint = OutputConstraint.JsonSchema(schema);
        JsonElement root = JsonDocument.Parse(schema).RootElement;
        foreach (bool afterPrompt in new[] { false, true })
        {
            foreach (string text in RandomOutputs.Of(constraint, 150, afterPrompt))
            {
                using JsonDocument document = JsonDocument.Parse(text);
                Assert.True(IsValid(document.RootElement, root), $"{text} is no document of {schema}");
            }
        }
    }

    [Theory]
    [InlineData("""{"type":"object","properties":{"a":{"type":"null"},"b":{"type":"null"},"c":{"type":"null"}},"required":["b"]}""",
        """{"b":null}|{"a":null,"b":null}|{"b":null, "c": null}|{"a":null,"b":null,"c":null}""", """{}|{"a":null}|{"b":null,"a":null}|{,"b":null}|{"b":null,}|{"c":null}""")]
    [InlineData("""{"type":"array","items":{"type":"boolean"},"maxItems":2}""", "[]|[true]|[true, false]| [true]", "[true,true,true]|[,]|[true,]|  []")]
    [InlineData("""{"type":"number"}""", "0|-1.50|12e-7|1E+99", "01|+1|.5|1.|1e|- 1|NaN|1e100")]
    [InlineData("""{"type":"string"}""", @"""""|""é\u00e9\""\\\/""|"" ""|""\ud7ff""", @"""a|""\x""|""\ud800""|'a'")]
    [InlineData("""{"type":"string","pattern":"a.c"}""", @"""abc""|""xxabcyy""|""a\""c""|""a\\c""", @"""ac""|""a\nc""|""a""c""")]
    public void Documents_are_accepted_or_not(string schema, string accepted, string refused)
    {
        var automaton = new Automaton(OutputConstraint.JsonSchema(schema).Nfa);
        bool Accepts(string text)
        {
            AutomatonState? state = automaton.Start;
            foreach (byte value in System.Text.Encoding.UTF8.GetBytes(text))
            {
                if (!automaton.TryStep(state, value, out state))
                {
                    return false;
                }
            }

            return state.IsAccepting;
        }

        Assert.All(accepted.Split('|'), text => Assert.True(Accepts(text), text));
        Assert.All(refused.Split('|'), text => Assert.False(Accepts(text), text));
    }

    [Theory]
    [InlineData("{", "no JSON")]
    [InlineData("true", "is True")]
    [InlineData("{}", "says neither type")]
    [InlineData("""{"type":"object"}""", "without properties")]
    [InlineData("""{"type":"array"}""", "without items")]
    [InlineData("""{"type":"thing"}""", "$.type is thing")]
    [InlineData("""{"type":"integer","minimum":3}""", "$.minimum is a keyword that is not supported")]
    [InlineData("""{"type":"integer","minLength":3}""", "$.minLength does not belong")]
    [InlineData("""{"$ref":"#/x"}""", "$.$ref is a keyword that is not supported")]
    [InlineData("""{"oneOf":[]}""", "$.oneOf is a keyword that is not supported")]
    [InlineData("""{"type":"string","format":"date"}""", "$.format")]
    [InlineData("""{"type":"string","pattern":"a","maxLength":3}""", "together with minLength")]
    [InlineData("""{"type":"string","pattern":"(?=a)"}""", "look-around")]
    [InlineData("""{"type":"string","enum":["a",3]}""", "3, which is not of the type")]
    [InlineData("""{"enum":[]}""", "at least one value")]
    [InlineData("""{"const":1,"minimum":0}""", "$.minimum is not supported beside const")]
    [InlineData("""{"type":"object","properties":{"a":{"type":"null"}},"required":["b"]}""", "names b")]
    [InlineData("""{"type":"object","properties":{},"additionalProperties":{"type":"null"}}""", "$.additionalProperties")]
    [InlineData("""{"type":"array","items":{"type":"null"},"minItems":3,"maxItems":2}""", "below minItems")]
    [InlineData("""{"type":"array","items":{"type":"null"},"minItems":-1}""", "$.minItems is -1")]
    public void What_is_not_supported_is_named(string schema, string message) =>
        Assert.Contains(message, Assert.Throws<OpenElmException>(() => OutputConstraint.JsonSchema(schema)).Message);

    [Fact]
    public void All_problems_are_reported_at_once()
    {
        string message = Assert.Throws<OpenElmException>(() => OutputConstraint.JsonSchema(
            """{"type":"object","properties":{"a":{"type":"integer","maximum":3},"b":{"type":"array"},"c":{"not":{}}}}""")).Message;
        Assert.Contains("$.properties.a.maximum", message);
        Assert.Contains("$.properties.b", message);
        Assert.Contains("$.properties.c.not", message);
    }

    static bool IsValid(JsonElement value, JsonElement schema)
    {
        if (schema.TryGetProperty("const", out JsonElement constant))
        {
            return JsonElement.DeepEquals(value, constant);
        }

        if (schema.TryGetProperty("enum", out JsonElement values))
        {
            return values.EnumerateArray().Any(choice => JsonElement.DeepEquals(value, choice));
        }

        if (schema.TryGetProperty("anyOf", out JsonElement choices))
        {
            return choices.EnumerateArray().Any(choice => IsValid(value, choice));
        }

        JsonElement type = schema.GetProperty("type");
        return type.ValueKind == JsonValueKind.Array ? type.EnumerateArray().Any(one => IsOfType(value, one.GetString()!, schema)) : IsOfType(value, type.GetString()!, schema);
    }

    static bool IsOfType(JsonElement value, string type, JsonElement schema)
    {
        int Number(string keyword, int otherwise) => schema.TryGetProperty(keyword, out JsonElement count) ? count.GetInt32() : otherwise;
        switch (type)
        {
            case "string":
                int length = value.ValueKind == JsonValueKind.String ? value.GetString()!.EnumerateRunes().Count() : -1;
                return length >= Number("minLength", 0) && length <= Number("maxLength", int.MaxValue)
                    && (!schema.TryGetProperty("pattern", out JsonElement pattern) || Regex.IsMatch(RegexTests.Comparable(value.GetString()!), pattern.GetString()!));
            case "number":
                return value.ValueKind == JsonValueKind.Number && double.IsFinite(value.GetDouble());
            case "integer":
                return value.ValueKind == JsonValueKind.Number && value.TryGetInt64(out _);
            case "boolean":
                return value.ValueKind is JsonValueKind.True or JsonValueKind.False;
            case "null":
                return value.ValueKind == JsonValueKind.Null;
            case "array":
                return value.ValueKind == JsonValueKind.Array && value.GetArrayLength() >= Number("minItems", 0) && value.GetArrayLength() <= Number("maxItems", int.MaxValue)
                    && value.EnumerateArray().All(item => IsValid(item, schema.GetProperty("items")));
            default:
                JsonElement properties = schema.GetProperty("properties");
                return value.ValueKind == JsonValueKind.Object
                    && value.EnumerateObject().All(member => properties.TryGetProperty(member.Name, out JsonElement property) && IsValid(member.Value, property))
                    && value.EnumerateObject().Select(member => member.Name).Distinct().Count() == value.EnumerateObject().Count()
                    && (!schema.TryGetProperty("required", out JsonElement required) || required.EnumerateArray().All(name => value.TryGetProperty(name.GetString()!, out _)));
        }
    }
}
