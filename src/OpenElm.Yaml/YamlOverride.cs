namespace OpenElm.Yaml;

/// <summary>One setting from the command line, <c>trainer.max_steps=100</c>, put into the tree.</summary>
internal static class YamlOverride
{
    public static YamlNode Apply(YamlNode root, string setting, YamlProblems problems)
    {
        int equals = setting.IndexOf('=', StringComparison.Ordinal);
        string path = equals < 0 ? setting : setting[..equals];
        var place = YamlPlace.OfOverride(path);
        if (equals <= 0 || path.Split('.').Any(string.IsNullOrWhiteSpace))
        {
            problems.Add(YamlPlace.OfOverride(setting), "write it as path=value, for example trainer.max_steps=100.");
            return root;
        }

        YamlNode value;
        try
        {
            value = At(YamlTreeReader.Read(Document(setting[(equals + 1)..]), path, new YamlProblems()), place);
        }
        catch (OpenElmException)
        {
            problems.Add(place, $"the value {setting[(equals + 1)..]} is not valid YAML; quote it.");
            return root;
        }

        value = ((YamlMap)value).Entries[0].Value;
        return Set(root, path.Split('.'), value, place, problems);
    }

    // As the value of a key, because a bare "a: b" or an empty text must not become a document of another kind.
    static string Document(string value) => $"value: {value}";

    static YamlNode Set(YamlNode node, ReadOnlySpan<string> path, YamlNode value, YamlPlace place, YamlProblems problems)
    {
        if (path.IsEmpty)
        {
            return value;
        }

        switch (node)
        {
            case YamlList list when int.TryParse(path[0], out int index) && index >= 0 && index < list.Items.Length:
                return list with { Items = list.Items.SetItem(index, Set(list.Items[index], path[1..], value, place, problems)) };
            case YamlList list:
                problems.Add(place, $"{path[0]} is no item of a list of {list.Items.Length}; count from 0, or set the whole list.");
                return node;
            case YamlMap map:
                YamlNode child = map.IndexOf(path[0]) is >= 0 and int at ? map.Entries[at].Value : new YamlScalar("", IsQuoted: false, place);
                return map.With(new YamlEntry(path[0], Set(child, path[1..], value, place, problems), place));
            case YamlScalar { IsNull: true }:
                return Set(new YamlMap([], place), path, value, place, problems);
            default:
                problems.Add(place, $"{path[0]} cannot be set inside {node.Describe()}.");
                return node;
        }
    }

    static YamlNode At(YamlNode node, YamlPlace place) => node switch
    {
        YamlList list => new YamlList([.. list.Items.Select(item => At(item, place))], place),
        YamlMap map => new YamlMap([.. map.Entries.Select(e => new YamlEntry(e.Key, At(e.Value, place), place))], place),
        _ => node with { Place = place },
    };
}
