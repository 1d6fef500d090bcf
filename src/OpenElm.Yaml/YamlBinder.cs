using System.Reflection;

namespace OpenElm.Yaml;

/// <summary>Turns the tree into records. A value that does not fit becomes a problem, and binding goes on.</summary>
internal sealed class YamlBinder(YamlConverters converters, YamlProblems problems)
{
    readonly Dictionary<string, YamlPlace> _places = [];
    int _impossibleValues;

    // Problems that leave a hole in a record; an impossible value is bound all the same.
    int Holes => problems.Count - _impossibleValues;

    /// <summary>Binds a node; after a problem the result is unusable and only further problems are of interest.</summary>
    public object? Bind(YamlNode node, Type type, string path)
    {
        type = Nullable.GetUnderlyingType(type) ?? type;
        _places.TryAdd(path, node.Place);
        if (converters.TryGet(type, out var converter))
        {
            return Convert(converter.Read, node, path);
        }

        if (ListTypes.IsList(type, out Type element))
        {
            return BindList(node, type, element, path);
        }

        if (ListTypes.IsDictionary(type, out Type valueType))
        {
            return BindDictionary(node, type, valueType, path);
        }

        return type.IsPrimitive || type.IsEnum || type == typeof(string) ? BindScalar(node, type, path) : BindRecord(node, type, path);
    }

    object? Convert(Func<object?, object> read, YamlNode node, string path)
    {
        try
        {
            return read(node.ToPlain());
        }
        catch (OpenElmException wrong)
        {
            problems.Add(_places[path], $"{path} {wrong.Message}");
            return null;
        }
    }

    object? BindScalar(YamlNode node, Type type, string path)
    {
        if (node is YamlScalar { IsNull: false } scalar)
        {
            if (type == typeof(string))
            {
                return scalar.Text;
            }

            if (type == typeof(bool) && scalar.TryBool(out bool truth))
            {
                return truth;
            }

            if (type == typeof(long) && scalar.TryLong(out long whole))
            {
                return whole;
            }

            if (type == typeof(int) && scalar.TryLong(out long small) && small is >= int.MinValue and <= int.MaxValue)
            {
                return (int)small;
            }

            if (type == typeof(double) && scalar.TryDouble(out double number))
            {
                return number;
            }

            if (type == typeof(float) && scalar.TryDouble(out double single))
            {
                return (float)single;
            }

            if (type.IsEnum)
            {
                return BindEnum(scalar, type, path);
            }
        }

        return Wrong(node, path, type switch
        {
            _ when type == typeof(bool) => "true or false",
            _ when type == typeof(int) => "a whole number below 2^31",
            _ when type == typeof(long) => "a whole number",
            _ when type == typeof(double) || type == typeof(float) => "a number",
            _ when type == typeof(string) => "text",
            { IsEnum: true } => string.Join(" or ", EnumNames(type).Select(e => e.Name)),
            _ => throw new NotSupportedException($"{type} has no YAML form: give it a converter."),
        });
    }

    object? BindEnum(YamlScalar scalar, Type type, string path)
    {
        foreach ((string name, object value) in EnumNames(type))
        {
            if (name == scalar.Text)
            {
                return value;
            }
        }

        problems.Add(_places[path], $"{path} is {scalar.Describe()}, which it cannot be{Spelling.Hint(scalar.Text, EnumNames(type).Select(e => e.Name))}");
        return null;
    }

    object? BindList(YamlNode node, Type type, Type element, string path)
    {
        if (node is not YamlList list)
        {
            return Wrong(node, path, "a list");
        }

        var items = list.Items.Select((item, i) => Bind(item, element, ValidationProblems.PathOf(path, $"{i}"))).ToList();
        return items.Contains(null) ? null : ListTypes.MakeList(type, element, items);
    }

    object? BindDictionary(YamlNode node, Type type, Type valueType, string path)
    {
        if (node is not YamlMap map)
        {
            return Wrong(node, path, "a section with keys");
        }

        var entries = new List<KeyValuePair<string, object?>>();
        foreach (YamlEntry entry in map.Entries)
        {
            string entryPath = ValidationProblems.PathOf(path, entry.Key);
            _places[entryPath] = entry.Place;
            entries.Add(new(entry.Key, Bind(entry.Value, valueType, entryPath)));
        }

        return entries.Any(e => e.Value is null) ? null : ListTypes.MakeDictionary(type, valueType, entries);
    }

    object? BindRecord(YamlNode node, Type type, string path)
    {
        if (node is not YamlMap map)
        {
            return Wrong(node, path, "a section with keys");
        }

        int holesBefore = Holes;
        RecordShape shape = RecordShape.Of(type);
        object record = Activator.CreateInstance(type)!;
        foreach (YamlEntry entry in map.Entries)
        {
            BindKey(record, shape, entry, path);
        }

        foreach (RecordKey key in shape.Keys)
        {
            if (key.IsRequired && map.IndexOf(key.Key) < 0)
            {
                problems.Add(_places[path], $"{ValidationProblems.PathOf(path, key.Key)} is missing.");
            }
        }

        // A record with a hole would only report what follows from the hole.
        if (Holes == holesBefore && record is IValidated validated)
        {
            Validate(validated, path);
        }

        return record;
    }

    void BindKey(object record, RecordShape shape, YamlEntry entry, string path)
    {
        string keyPath = ValidationProblems.PathOf(path, entry.Key);
        RecordKey? key = shape.Keys.FirstOrDefault(k => k.Key == entry.Key);
        if (key is null)
        {
            bool onlyHoldsAnchors = path.Length == 0 && (entry.Key.StartsWith("_anchor_") || entry.Key.StartsWith("x-"));
            if (!onlyHoldsAnchors)
            {
                problems.Add(entry.Place, $"{keyPath} is not a known key{Spelling.Hint(entry.Key, shape.Keys.Select(k => k.Key))}");
            }

            return;
        }

        _places[keyPath] = entry.Place;
        if (key.IsNullable && entry.Value is YamlScalar { IsNull: true })
        {
            key.Property.SetValue(record, null);
        }
        else if (Bind(entry.Value, key.Property.PropertyType, keyPath) is { } value)
        {
            key.Property.SetValue(record, value);
        }
    }

    void Validate(IValidated record, string path)
    {
        var found = new List<string>();
        record.Validate(path, found);
        _impossibleValues += found.Count;
        foreach (string problem in found)
        {
            problems.Add(PlaceOf(problem), problem);
        }
    }

    /// <summary>The place of the path that a problem begins with, or of the nearest section around it.</summary>
    YamlPlace PlaceOf(string problem)
    {
        int end = problem.AsSpan().IndexOfAny(" :;,");
        string path = end < 0 ? problem : problem[..end];
        while (true)
        {
            if (_places.TryGetValue(path, out YamlPlace place))
            {
                return place;
            }

            path = path.Contains('.') ? path[..path.LastIndexOf('.')] : "";
        }
    }

    object? Wrong(YamlNode node, string path, string expected)
    {
        problems.Add(_places[path], $"{(path.Length == 0 ? "the document" : path)} must be {expected}, but is {node.Describe()}.");
        return null;
    }

    static IEnumerable<(string Name, object Value)> EnumNames(Type type) =>
        type.GetFields(BindingFlags.Public | BindingFlags.Static).Select(f => (RecordShape.NameOf(f), f.GetValue(null)!));
}
