using System.Text.Json;
using OpenElm.Checkpoints;

namespace OpenElm.Verification.Golden;

/// <summary>A folder of golden files: found by pattern, described by its <c>golden.json</c>.</summary>
internal static class GoldenFolder
{
    public const string DescriptionFile = "golden.json";

    /// <summary>The golden files of a folder, by name and without their ending.</summary>
    public static IReadOnlyList<string> Names(string folder)
    {
        if (!Directory.Exists(folder))
        {
            throw new OpenElmException($"There is no folder {folder}; name one with golden files and their {DescriptionFile}.");
        }

        string[] names = [.. Directory.EnumerateFiles(folder, "*.safetensors").Select(path => Path.GetFileNameWithoutExtension(path)).Order(StringComparer.Ordinal)];
        return names is not [] ? names : throw new OpenElmException($"The folder {folder} holds no golden files (*.safetensors).");
    }

    /// <summary>Opens a golden file. Entries of models are called like the file without <c>model-</c>, others like the file.</summary>
    public static GoldenFile Open(string folder, string name)
    {
        JsonElement all = ReadDescriptions(folder);
        string key = name.StartsWith("model-", StringComparison.Ordinal) ? name["model-".Length..] : name;
        if (!all.TryGetProperty(key, out JsonElement description) && !all.TryGetProperty(name, out description))
        {
            throw new OpenElmException($"{Path.Combine(folder, DescriptionFile)} does not describe {name}.safetensors; it needs an entry {key}.");
        }

        string kind = description.TryGetProperty("kind", out JsonElement value) ? value.GetString()! : "unknown";
        return new GoldenFile(name, kind, description, SafetensorsFile.Open(Path.Combine(folder, name + ".safetensors")));
    }

    static JsonElement ReadDescriptions(string folder)
    {
        string path = Path.Combine(folder, DescriptionFile);
        if (!File.Exists(path))
        {
            throw new OpenElmException($"The folder {folder} holds no {DescriptionFile}, which describes its golden files.");
        }

        try
        {
            using JsonDocument document = JsonDocument.Parse(File.ReadAllBytes(path));
            return document.RootElement.Clone();
        }
        catch (JsonException e)
        {
            throw new OpenElmException($"{path} is not valid JSON: {e.Message}", e);
        }
    }
}
