namespace OpenElm.Yaml;

/// <summary>
/// Reads our own YAML files into immutable records, strictly: an unknown, missing or doubled key, a wrong type or an
/// impossible value is refused, and all problems are reported at once, each with its file and line. Keys are the
/// snake_case names of the record's properties; a property marked <c>required</c> must be in the file.
/// Anchors and merge keys work; top-level keys that begin with <c>_anchor_</c> or <c>x-</c> only hold anchors.
/// </summary>
public static class StrictYaml
{
    /// <summary>Reads a file.</summary>
    /// <typeparam name="T">A record with init properties.</typeparam>
    /// <param name="path">The file.</param>
    /// <param name="overrides">Values that win over the file: <c>trainer.max_steps=100</c>, <c>data.files.0.path=[a, b]</c>; the value is YAML.</param>
    /// <param name="converters">Types that are read from more than one form; the default set when null.</param>
    /// <returns>The record, valid.</returns>
    public static T Read<T>(string path, IReadOnlyCollection<string>? overrides = null, YamlConverters? converters = null)
        where T : class
    {
        string text;
        try
        {
            text = File.ReadAllText(path);
        }
        catch (Exception cause) when (cause is IOException or UnauthorizedAccessException)
        {
            throw new OpenElmException($"The configuration {path} cannot be read: {cause.Message}", cause);
        }

        return Parse<T>(text, path, overrides, converters);
    }

    /// <summary>Reads YAML text.</summary>
    /// <typeparam name="T">A record with init properties.</typeparam>
    /// <param name="yaml">The text.</param>
    /// <param name="name">What messages call the text: the file's path.</param>
    /// <param name="overrides">Values that win over the text.</param>
    /// <param name="converters">Types that are read from more than one form; the default set when null.</param>
    /// <returns>The record, valid.</returns>
    public static T Parse<T>(
        string yaml, string name, IReadOnlyCollection<string>? overrides = null, YamlConverters? converters = null)
        where T : class
    {
        var problems = new YamlProblems();
        YamlNode root = YamlTreeReader.Read(yaml, name, problems);
        foreach (string setting in overrides ?? [])
        {
            root = YamlOverride.Apply(root, setting, problems);
        }

        var binder = new YamlBinder(converters ?? YamlConverters.Default, problems);
        object? bound = binder.Bind(root, typeof(T), path: "");
        problems.ThrowIfAny($"The configuration {name} is not valid");
        return (T)bound!;
    }

    /// <summary>Writes a record as YAML that binds to an equal one, every default spelt out.</summary>
    /// <param name="configuration">A record as <see cref="Parse"/> reads it.</param>
    /// <param name="converters">The converters it was read with.</param>
    /// <returns>The text.</returns>
    public static string Write(object configuration, YamlConverters? converters = null) =>
        YamlWriter.Write(configuration, converters ?? YamlConverters.Default);
}
