namespace OpenElm.Yaml;

/// <summary>Where a value was written: a line of a file, or an override (which has no line and sorts last).</summary>
internal readonly record struct YamlPlace(string Source, int Line)
{
    public static YamlPlace OfOverride(string path) => new($"override {path}", int.MaxValue);

    public override string ToString() => Line == int.MaxValue ? Source : $"{Source}:{Line}";
}

/// <summary>Everything that is wrong with a file and its overrides, collected so that the user sees it at once.</summary>
internal sealed class YamlProblems
{
    readonly List<(YamlPlace Place, string Text)> _found = [];

    public int Count => _found.Count;

    public void Add(YamlPlace place, string text) => _found.Add((place, text));

    public void ThrowIfAny(string subject)
    {
        if (_found.Count > 0)
        {
            throw OpenElmException.Of(subject, [.. _found.OrderBy(p => p.Place.Line).Select(p => $"{p.Place}: {p.Text}")]);
        }
    }
}
