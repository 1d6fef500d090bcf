using System.IO.Hashing;
using System.Text.Json;
using OpenElm.IO;

namespace OpenElm.Training;

/// <summary>
/// <c>manifest.json</c> of a checkpoint: size and XxHash3 of every other file in it, so that a damaged checkpoint is
/// noticed before training goes on from it.
/// </summary>
internal static class CheckpointManifest
{
    public const string FileName = "manifest.json";

    static readonly JsonSerializerOptions Indented = new() { WriteIndented = true, PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower };

    /// <summary>Lists the files of a folder; write it last.</summary>
    public static void Write(string folder)
    {
        var files = FilesOf(folder).ToDictionary(name => name, name => EntryOf(Path.Combine(folder, name)));
        AtomicFile.WriteText(Path.Combine(folder, FileName), JsonSerializer.Serialize(files, Indented) + "\n");
    }

    /// <summary>Says what is wrong with a checkpoint's files, or null if nothing is.</summary>
    public static string? FindDamage(string folder)
    {
        string path = Path.Combine(folder, FileName);
        if (!File.Exists(path))
        {
            return $"it has no {FileName}";
        }

        Dictionary<string, Entry>? listed;
        try
        {
            listed = JsonSerializer.Deserialize<Dictionary<string, Entry>>(File.ReadAllText(path), Indented);
        }
        catch (JsonException)
        {
            listed = null;
        }

        if (listed is null)
        {
            return $"its {FileName} is damaged";
        }

        foreach ((string name, Entry expected) in listed)
        {
            string file = Path.Combine(folder, name);
            if (!File.Exists(file))
            {
                return $"its file {name} is missing";
            }

            Entry found = EntryOf(file);
            if (found != expected)
            {
                return $"its file {name} was changed or damaged ({found.Bytes} bytes with checksum {found.XxHash3}; {expected.Bytes} with {expected.XxHash3} were written)";
            }
        }

        return null;
    }

    static IEnumerable<string> FilesOf(string folder) =>
        Directory.EnumerateFiles(folder, "*", SearchOption.AllDirectories)
            .Select(file => Path.GetRelativePath(folder, file).Replace('\\', '/'))
            .Where(name => name != FileName)
            .Order(StringComparer.Ordinal);

    static Entry EntryOf(string file)
    {
        var hash = new XxHash3();
        using FileStream stream = File.OpenRead(file);
        hash.Append(stream);
        return new Entry(stream.Length, Convert.ToHexStringLower(hash.GetCurrentHash()));
    }

    sealed record Entry(long Bytes, string XxHash3);
}
