using System.Text;

namespace OpenElm.Templates;

/// <summary>The functions, filters, methods and tests of templates. What is not here is refused when the template is read.</summary>
internal static class TemplateFunctions
{
    static readonly HashSet<string> Functions = ["raise_exception", "namespace", "range"];

    static readonly HashSet<string> Filters =
        ["trim", "upper", "lower", "capitalize", "title", "length", "count", "first", "last", "join", "default", "d", "string", "int", "list", "replace", "tojson", "items", "safe"];

    static readonly HashSet<string> Tests = ["defined", "undefined", "none", "string", "number", "integer", "boolean", "mapping", "sequence", "iterable", "true", "false", "odd", "even"];

    public static bool IsFunction(string name) => Functions.Contains(name);

    public static bool IsFilter(string name) => Filters.Contains(name);

    public static bool IsTest(string name) => Tests.Contains(name);

    /// <summary>Applies a filter or a method.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="isFilter">A filter, else a method.</param>
    /// <param name="value">What it is applied to.</param>
    /// <param name="arguments">Its arguments.</param>
    /// <returns>The result.</returns>
    /// <exception cref="TemplateProblem">There is no such thing, or the value does not fit.</exception>
    public static object? Apply(string name, bool isFilter, object? value, IReadOnlyList<object?> arguments)
    {
        if (name is "default" or "d" && isFilter)
        {
            bool empty = value is Undefined || (arguments.Count > 1 && TemplateValue.IsTrue(arguments[1]) && !TemplateValue.IsTrue(value));
            return !empty ? value : arguments.Count > 0 ? arguments[0] : "";
        }

        if (value is Undefined missing)
        {
            throw missing.Problem();
        }

        return (name, value) switch
        {
            ("trim", string text) when isFilter => Trimmed(text, arguments, both: true),
            ("strip", string text) when !isFilter => Trimmed(text, arguments, both: true),
            ("lstrip", string text) when !isFilter => arguments is [string set] ? text.TrimStart([.. set]) : text.TrimStart(),
            ("rstrip", string text) when !isFilter => arguments is [string set] ? text.TrimEnd([.. set]) : text.TrimEnd(),
            ("upper", string text) => text.ToUpperInvariant(),
            ("lower", string text) => text.ToLowerInvariant(),
            ("capitalize", string { Length: > 0 } text) => char.ToUpperInvariant(text[0]) + text[1..].ToLowerInvariant(),
            ("title", string text) => Title(text),
            ("replace", string text) when arguments is [string { Length: > 0 } from, string to] => text.Replace(from, to, StringComparison.Ordinal),
            ("startswith", string text) when !isFilter && arguments is [string start] => text.StartsWith(start, StringComparison.Ordinal),
            ("endswith", string text) when !isFilter && arguments is [string end] => text.EndsWith(end, StringComparison.Ordinal),
            ("split", string text) when !isFilter && arguments is [string { Length: > 0 } separator] => text.Split(separator).ToList<object?>(),
            ("split", string text) when !isFilter && arguments is [] => text.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries).ToList<object?>(),
            ("items", Dictionary<string, object?> map) => map.Select(entry => (object?)new List<object?> { entry.Key, entry.Value }).ToList(),
            ("keys", Dictionary<string, object?> map) when !isFilter => map.Keys.ToList<object?>(),
            ("values", Dictionary<string, object?> map) when !isFilter => map.Values.ToList(),
            ("get", Dictionary<string, object?> map) when !isFilter && arguments is [string key, ..] => map.TryGetValue(key, out object? found) ? found : arguments.Count > 1 ? arguments[1] : null,
            ("index", List<object?> list) when !isFilter && arguments is [var wanted] => list.FindIndex(item => TemplateValue.AreEqual(item, wanted)) is >= 0 and int at ? (long)at
                : throw new TemplateProblem($"the list has no item {Json(wanted)}; it has {Json(list)}"),
            ("length" or "count", _) when isFilter => (long)TemplateValue.Items(value).Count,
            ("first", _) when isFilter => TemplateValue.Items(value) is [var first, ..] ? first : new Undefined("the first of nothing"),
            ("last", _) when isFilter => TemplateValue.Items(value) is [.., var last] ? last : new Undefined("the last of nothing"),
            ("list", _) when isFilter => TemplateValue.Items(value).ToList(),
            ("join", _) when isFilter => string.Join(arguments is [string separator] ? separator : "", TemplateValue.Items(value).Select(TemplateValue.Print)),
            ("string", _) when isFilter => TemplateValue.Print(value),
            ("safe", _) when isFilter => value,
            ("int", string text) when isFilter => long.TryParse(text, out long number) ? number : 0L,
            ("int", double number) when isFilter => (long)number,
            ("int", long) when isFilter => value,
            ("tojson", _) when isFilter => Json(value),
            _ => throw new TemplateProblem($"{(isFilter ? "the filter" : "the method")} {name} is not supported on {TemplateValue.NameOf(value)}"),
        };
    }

    /// <summary>Tests a value.</summary>
    /// <param name="name">The test.</param>
    /// <param name="value">The value.</param>
    /// <returns>Whether it holds.</returns>
    public static bool Holds(string name, object? value) => name switch
    {
        "defined" => value is not Undefined,
        "undefined" => value is Undefined,
        "none" => value is null,
        "string" => value is string,
        "number" => value is long or double,
        "integer" => value is long,
        "boolean" => value is bool,
        "true" => value is true,
        "false" => value is false,
        "mapping" => value is Dictionary<string, object?>,
        "sequence" or "iterable" => value is string or List<object?> or Dictionary<string, object?>,
        "odd" => value is long odd && odd % 2 != 0,
        _ => value is long even && even % 2 == 0,
    };

    static string Trimmed(string text, IReadOnlyList<object?> arguments, bool both) => arguments is [string set] && both ? text.Trim([.. set]) : text.Trim();

    static string Title(string text)
    {
        var title = new StringBuilder(text.ToLowerInvariant());
        for (int i = 0; i < title.Length; i++)
        {
            title[i] = i == 0 || !char.IsLetter(title[i - 1]) ? char.ToUpperInvariant(title[i]) : title[i];
        }

        return title.ToString();
    }

    // As Python's json.dumps prints it, with blanks behind commas and colons, and all characters as they are.
    static string Json(object? value) => value switch
    {
        null => "null",
        bool flag => flag ? "true" : "false",
        string text => "\"" + string.Concat(text.Select(Escaped)) + "\"",
        List<object?> list => "[" + string.Join(", ", list.Select(Json)) + "]",
        Dictionary<string, object?> map => "{" + string.Join(", ", map.Select(entry => Json(entry.Key) + ": " + Json(entry.Value))) + "}",
        _ => TemplateValue.Print(value),
    };

    static string Escaped(char c) => c switch
    {
        '"' => "\\\"",
        '\\' => "\\\\",
        '\n' => "\\n",
        '\r' => "\\r",
        '\t' => "\\t",
        '\b' => "\\b",
        '\f' => "\\f",
        < ' ' => $"\\u{(int)c:x4}",
        _ => c.ToString(),
    };
}
