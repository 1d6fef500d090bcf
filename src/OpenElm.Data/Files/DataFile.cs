using System.Collections.Immutable;

namespace OpenElm.Data.Files;

/// <summary>One file of the corpus.</summary>
/// <param name="Index">Its place in the expanded list, before any shuffle.</param>
/// <param name="Name">As the configuration names it; part of fingerprints, so that a corpus may move.</param>
/// <param name="Path">Where it lies on this machine.</param>
/// <param name="TextKey">The key or column of the text.</param>
/// <param name="Length">Bytes on disk.</param>
internal sealed record DataFile(int Index, string Name, string Path, string TextKey, long Length)
{
    const int MissingFilesNamed = 10;

    /// <summary>Expands all sources in order and checks that every file is there.</summary>
    /// <exception cref="OpenElmException">Files are missing; all of them are reported at once.</exception>
    public static ImmutableArray<DataFile> Expand(DataConfig config, string baseDirectory, IFileSource source)
    {
        var files = ImmutableArray.CreateBuilder<DataFile>();
        List<string> missing = [];
        foreach (DataSource entry in config.Sources)
        {
            foreach (string name in FilePattern.Expand(entry))
            {
                string path = System.IO.Path.GetFullPath(name, System.IO.Path.GetFullPath(baseDirectory));
                if (source.LengthOf(path) is { } length)
                {
                    files.Add(new DataFile(files.Count, name, path, entry.TextKey, length));
                }
                else
                {
                    missing.Add(path);
                }
            }
        }

        if (missing.Count > 0)
        {
            IEnumerable<string> named = missing.Take(MissingFilesNamed).Select(path => $"there is no file '{path}'");
            List<string> problems = [.. named];
            if (missing.Count > MissingFilesNamed)
            {
                problems.Add($"and {missing.Count - MissingFilesNamed} more are missing");
            }

            throw OpenElmException.Of("Data files are missing (check data.sources: file_name and file_id_range)", problems);
        }

        return files.ToImmutable();
    }
}
