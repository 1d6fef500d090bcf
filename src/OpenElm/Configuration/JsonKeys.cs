using System.Collections.Immutable;
using System.Text.Json;

namespace OpenElm.Configuration;

/// <summary>Typed look-ups in a JSON object that collect every problem instead of stopping at the first.</summary>
internal sealed class JsonKeys(JsonElement root, List<string> problems)
{
    readonly HashSet<string> _known = [];

    public int Int(string key, int fallback) =>
        Find(key, out JsonElement value) ? Expect<int>(key, value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out int number) ? number : null, "a whole number", fallback) : fallback;

    public double Double(string key, double fallback) =>
        Find(key, out JsonElement value) ? Expect<double>(key, value.ValueKind == JsonValueKind.Number ? value.GetDouble() : null, "a number", fallback) : fallback;

    public bool Bool(string key, bool fallback) =>
        Find(key, out JsonElement value)
            ? Expect<bool>(key, value.ValueKind is JsonValueKind.True or JsonValueKind.False ? value.GetBoolean() : null, "true or false", fallback)
            : fallback;

    public ImmutableArray<int>? Ints(string key) =>
        Find(key, out JsonElement value)
            ? Expect<ImmutableArray<int>>(key, Numbers(value) is { } numbers && numbers.All(n => double.IsInteger(n) && Math.Abs(n) <= int.MaxValue) ? numbers.Select(n => (int)n).ToImmutableArray() : null, "a list of whole numbers", [])
            : null;

    public Multipliers Multipliers(string key, Multipliers fallback)
    {
        if (!Find(key, out JsonElement value))
        {
            return fallback;
        }

        ImmutableArray<double>? numbers = value.ValueKind == JsonValueKind.Number ? [value.GetDouble()] : Numbers(value);
        return numbers is { Length: > 0 } list
            ? Configuration.Multipliers.Of(list)
            : Expect<Multipliers>(key, null, "a number, a pair, or one number for each layer", fallback);
    }

    public void MustBe(string key, string expected)
    {
        if (Find(key, out JsonElement value) && (value.ValueKind != JsonValueKind.String || value.GetString() != expected))
        {
            problems.Add($"{key} is {value.GetRawText()}; only \"{expected}\" is supported");
        }
    }

    public void RefuseUnknown(IReadOnlySet<string> foreign) =>
        problems.AddRange(root.EnumerateObject()
            .Where(property => !_known.Contains(property.Name) && !foreign.Contains(property.Name))
            .Select(property => $"{property.Name} is not a known key"));

    bool Find(string key, out JsonElement value)
    {
        _known.Add(key);
        return root.TryGetProperty(key, out value) && value.ValueKind != JsonValueKind.Null;
    }

    static ImmutableArray<double>? Numbers(JsonElement value) =>
        value.ValueKind == JsonValueKind.Array && value.EnumerateArray().All(item => item.ValueKind == JsonValueKind.Number)
            ? [.. value.EnumerateArray().Select(item => item.GetDouble())]
            : null;

    T Expect<T>(string key, T? value, string expected, T fallback)
        where T : struct
    {
        if (value is { } found)
        {
            return found;
        }

        problems.Add($"{key} must be {expected}");
        return fallback;
    }
}
