using System.Text.Json;

namespace OpenElm.Data.Rows;

/// <summary>Rows of JSON: one object a line, or one array of objects.</summary>
internal static class JsonRows
{
    /// <summary>Reads a file; an array where its first character opens one.</summary>
    /// <param name="bytes">The file, UTF-8.</param>
    /// <param name="file">What messages call it.</param>
    /// <returns>Its rows; row numbers are lines, or places in the array.</returns>
    public static List<DataRow> Read(ReadOnlyMemory<byte> bytes, string file)
    {
        int first = bytes.Span.IndexOfAnyExcept(" \t\r\n"u8);
        return first >= 0 && bytes.Span[first] == '[' ? Array(bytes, file) : Lines(bytes, file);
    }

    static List<DataRow> Lines(ReadOnlyMemory<byte> bytes, string file)
    {
        var rows = new List<DataRow>();
        for (long number = 1; !bytes.IsEmpty; number++)
        {
            int feed = bytes.Span.IndexOf((byte)'\n');
            ReadOnlyMemory<byte> line = feed < 0 ? bytes : bytes[..feed];
            bytes = feed < 0 ? default : bytes[(feed + 1)..];
            if (line.Span.IndexOfAnyExcept(" \t\r"u8) >= 0)
            {
                using JsonDocument document = Parse(line, $"{file} row {number}");
                rows.Add(Row(document.RootElement, file, number));
            }
        }

        return rows;
    }

    static List<DataRow> Array(ReadOnlyMemory<byte> bytes, string file)
    {
        using JsonDocument document = Parse(bytes, file);
        return [.. document.RootElement.EnumerateArray().Select((element, i) => Row(element, file, i + 1))];
    }

    static JsonDocument Parse(ReadOnlyMemory<byte> json, string where)
    {
        try
        {
            return JsonDocument.Parse(json);
        }
        catch (JsonException wrong)
        {
            throw new OpenElmException($"{where} is not valid JSON: {wrong.Message}", wrong);
        }
    }

    static DataRow Row(JsonElement element, string file, long number)
    {
        try
        {
            return Value(element) is Dictionary<string, object?> values
                ? new DataRow(values, file, number)
                : throw new OpenElmException($"{file} row {number} is {element.ValueKind} where an object with columns is needed.");
        }
        catch (InvalidOperationException wrong)
        {
            throw new OpenElmException($"{file} row {number} holds a text that is not valid Unicode: {wrong.Message}", wrong);
        }
    }

    static object? Value(JsonElement element) => element.ValueKind switch
    {
        JsonValueKind.Object => Map(element),
        JsonValueKind.Array => element.EnumerateArray().Select(Value).ToList(),
        JsonValueKind.String => element.GetString(),
        JsonValueKind.Number => element.TryGetInt64(out long whole) ? (object)whole : element.GetDouble(),
        JsonValueKind.True => true,
        JsonValueKind.False => false,
        _ => null,
    };

    // The order of the file is kept: TruthfulQA's answers are keys, and their order decides. Of a doubled key the last counts, as in Python.
    static Dictionary<string, object?> Map(JsonElement element)
    {
        var map = new Dictionary<string, object?>();
        foreach (JsonProperty property in element.EnumerateObject())
        {
            map[property.Name] = Value(property.Value);
        }

        return map;
    }
}
