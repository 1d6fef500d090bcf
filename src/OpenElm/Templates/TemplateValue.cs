using System.Globalization;

namespace OpenElm.Templates;

/// <summary>What a template has not been given. Printing it gives nothing; using it is a problem.</summary>
/// <param name="Name">What is missing.</param>
internal sealed record Undefined(string Name)
{
    public TemplateProblem Problem() => new($"{Name} is not defined");
}

/// <summary>Why a template could not be rendered; the renderer adds the line.</summary>
internal sealed class TemplateProblem(string message) : Exception(message);

/// <summary>
/// Values of templates behave as Python's: null, bool, long, double, string, List&lt;object?&gt;, Dictionary&lt;string, object?&gt;
/// and <see cref="Undefined"/>.
/// </summary>
internal static class TemplateValue
{
    public static bool IsTrue(object? value) => value switch
    {
        null or Undefined => false,
        bool flag => flag,
        long number => number != 0,
        double number => number != 0,
        string text => text.Length > 0,
        List<object?> list => list.Count > 0,
        Dictionary<string, object?> map => map.Count > 0,
        _ => true,
    };

    public static string Print(object? value) => value switch
    {
        Undefined => "",
        null => "None",
        bool flag => flag ? "True" : "False",
        long number => number.ToString(CultureInfo.InvariantCulture),
        double number => number % 1 == 0 && Math.Abs(number) < 1e16 ? number.ToString("0.0", CultureInfo.InvariantCulture) : number.ToString("R", CultureInfo.InvariantCulture),
        string text => text,
        _ => throw new TemplateProblem($"{NameOf(value)} cannot be printed; use the filter tojson or join"),
    };

    public static bool AreEqual(object? a, object? b) => (Plain(a), Plain(b)) switch
    {
        (List<object?> x, List<object?> y) => x.Count == y.Count && x.Zip(y).All(pair => AreEqual(pair.First, pair.Second)),
        (Dictionary<string, object?> x, Dictionary<string, object?> y) => x.Count == y.Count && x.All(entry => y.TryGetValue(entry.Key, out object? other) && AreEqual(entry.Value, other)),
        (Undefined, Undefined) => true,
        (var x, var y) => Equals(x, y),
    };

    public static int Compare(object? a, object? b) => (Plain(a), Plain(b)) switch
    {
        (double x, double y) => x.CompareTo(y),
        (string x, string y) => string.CompareOrdinal(x, y),
        (Undefined missing, _) => throw missing.Problem(),
        (_, Undefined missing) => throw missing.Problem(),
        _ => throw new TemplateProblem($"{NameOf(a)} and {NameOf(b)} have no order"),
    };

    /// <summary>What a loop runs over: items of a list, keys of a map, characters of a string.</summary>
    public static List<object?> Items(object? value) => value switch
    {
        List<object?> list => list,
        Dictionary<string, object?> map => [.. map.Keys],
        string text => [.. text.EnumerateRunes().Select(rune => (object?)rune.ToString())],
        Undefined missing => throw missing.Problem(),
        _ => throw new TemplateProblem($"{NameOf(value)} has no items"),
    };

    /// <summary>A member by name or position; Undefined where there is none.</summary>
    public static object? Member(object? owner, object? key) => (owner, key) switch
    {
        (Undefined missing, _) => throw missing.Problem(),
        (Dictionary<string, object?> map, string name) => map.TryGetValue(name, out object? found) ? found : new Undefined(name),
        (List<object?> or string, long index) => Items(owner) is var items && At(items.Count, index) is int at && at >= 0 && at < items.Count ? items[at] : new Undefined($"item {index}"),
        (_, string name) => new Undefined(name),
        _ => throw new TemplateProblem($"{NameOf(owner)} has no member {NameOf(key)}"),
    };

    public static object? Slice(object? owner, object? from, object? to)
    {
        int Bound(object? bound, int count, int otherwise) => bound switch
        {
            null => otherwise,
            long index => Math.Clamp(At(count, index), 0, count),
            _ => throw new TemplateProblem("a slice needs numbers"),
        };
        if (owner is not (string or List<object?>))
        {
            throw owner is Undefined missing ? missing.Problem() : new TemplateProblem($"{NameOf(owner)} has no slices");
        }

        List<object?> items = Items(owner);
        int first = Bound(from, items.Count, 0), last = Bound(to, items.Count, items.Count);
        List<object?> part = first < last ? items[first..last] : [];
        return owner is string ? string.Concat(part) : part;
    }

    public static string NameOf(object? value) => value switch
    {
        null => "none",
        Undefined missing => missing.Name,
        string => "a string",
        bool => "a truth value",
        long or double => "a number",
        List<object?> => "a list",
        _ => "a map",
    };

    // Python counts from the end below 0, and takes true for 1.
    static int At(int count, long index) => (int)Math.Clamp(index < 0 ? count + index : index, -1, int.MaxValue);

    static object? Plain(object? value) => value switch
    {
        bool flag => flag ? 1.0 : 0.0,
        long number => (double)number,
        _ => value,
    };
}
