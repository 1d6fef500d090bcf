using System.Buffers;
using System.Collections.Immutable;
using System.Globalization;

namespace OpenElm.Yaml;

/// <summary>A YAML value that remembers where it was written. Immutable, because aliases share nodes and overrides must not.</summary>
internal abstract record YamlNode(YamlPlace Place)
{
    /// <summary>What the user would call it, for "must be a list, but is …".</summary>
    public abstract string Describe();

    /// <summary>The value without places, as <see cref="YamlConverters"/> sees it.</summary>
    public abstract object? ToPlain();
}

/// <param name="Text">The text without quotes.</param>
/// <param name="IsQuoted">Quoted text is a string, whatever it looks like.</param>
/// <param name="Place">Where it was written.</param>
internal sealed record YamlScalar(string Text, bool IsQuoted, YamlPlace Place) : YamlNode(Place)
{
    static readonly SearchValues<char> NumberLetters = SearchValues.Create("0123456789+-.eE");

    public bool IsNull => !IsQuoted && Text is "" or "~" or "null" or "Null" or "NULL";

    public override string Describe() => IsNull ? "empty" : IsQuoted ? $"the text \"{Text}\"" : Text;

    public override object? ToPlain() =>
        IsNull ? null
        : TryBool(out bool truth) ? truth
        : TryLong(out long whole) ? whole
        : TryDouble(out double number) ? number
        : Text;

    public bool TryBool(out bool value)
    {
        value = Text is "true" or "True" or "TRUE";
        return !IsQuoted && (value || Text is "false" or "False" or "FALSE");
    }

    public bool TryLong(out long value)
    {
        value = 0;
        return !IsQuoted && long.TryParse(Text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out value);
    }

    public bool TryDouble(out double value)
    {
        value = Text switch { ".inf" or "+.inf" => double.PositiveInfinity, "-.inf" => double.NegativeInfinity, _ => double.NaN };
        return !IsQuoted && (Text == ".nan" || !double.IsNaN(value)
            || (!Text.AsSpan().ContainsAnyExcept(NumberLetters) // not the words NaN and Infinity
                && double.TryParse(Text, NumberStyles.Float, CultureInfo.InvariantCulture, out value)));
    }
}

internal sealed record YamlList(ImmutableArray<YamlNode> Items, YamlPlace Place) : YamlNode(Place)
{
    public override string Describe() => "a list";

    public override object? ToPlain() => Items.Select(item => item.ToPlain()).ToList();
}

/// <param name="Key">The key.</param>
/// <param name="Value">The value.</param>
/// <param name="Place">Where the key was written.</param>
internal readonly record struct YamlEntry(string Key, YamlNode Value, YamlPlace Place);

internal sealed record YamlMap(ImmutableArray<YamlEntry> Entries, YamlPlace Place) : YamlNode(Place)
{
    public override string Describe() => "a section with keys";

    public override object? ToPlain() => Entries.ToDictionary(entry => entry.Key, entry => entry.Value.ToPlain());

    public int IndexOf(string key)
    {
        for (int i = 0; i < Entries.Length; i++)
        {
            if (Entries[i].Key == key)
            {
                return i;
            }
        }

        return -1;
    }

    /// <summary>The same section with one key set: replaced in its place, or added at the end.</summary>
    public YamlMap With(YamlEntry entry) =>
        this with { Entries = IndexOf(entry.Key) is >= 0 and int at ? Entries.SetItem(at, entry) : Entries.Add(entry) };
}
