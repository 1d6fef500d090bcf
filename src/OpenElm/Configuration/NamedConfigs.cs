using System.Reflection;

namespace OpenElm.Configuration;

/// <summary>The architectures that ship with the project: <c>configs/models/*.json</c>, embedded in this assembly.</summary>
public static class NamedConfigs
{
    const string Prefix = "configs.models.";

    /// <summary>The names, for example <c>openelm-270m</c>.</summary>
    public static IReadOnlyList<string> Names { get; } =
        [.. Assembly.GetExecutingAssembly().GetManifestResourceNames()
            .Where(name => name.StartsWith(Prefix, StringComparison.Ordinal))
            .Select(name => name[Prefix.Length..^".json".Length])
            .Order(StringComparer.Ordinal)];

    /// <summary>Whether a configuration of this name ships (upper or lower case).</summary>
    /// <param name="name">The name.</param>
    /// <returns>True if <see cref="Get"/> finds it.</returns>
    public static bool Contains(string name) => Names.Contains(name, StringComparer.OrdinalIgnoreCase);

    /// <summary>Reads a shipped configuration.</summary>
    /// <param name="name">The name, upper or lower case.</param>
    /// <returns>The architecture.</returns>
    /// <exception cref="OpenElmException">There is none of this name; the message lists all.</exception>
    public static OpenElmConfig Get(string name)
    {
        string key = Names.FirstOrDefault(known => known.Equals(name, StringComparison.OrdinalIgnoreCase))
            ?? throw new OpenElmException($"There is no model called {name}; the known ones are {string.Join(", ", Names)}.");
        using Stream stream = Assembly.GetExecutingAssembly().GetManifestResourceStream($"{Prefix}{key}.json")!;
        using var reader = new StreamReader(stream);
        return OpenElmConfigJson.Read(reader.ReadToEnd(), key, strict: true);
    }
}
