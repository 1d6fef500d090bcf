namespace OpenElm.IO;

/// <summary>
/// Writes a folder under a temporary name beside its place, syncs every file, and renames it. Killed at any moment, the
/// folder is the old one, the new one, or absent; what is left over ends in <c>.partial</c> and may be deleted.
/// </summary>
public static class AtomicFolder
{
    /// <summary>The ending of unfinished folders.</summary>
    public const string PartialEnding = ".partial";

    /// <summary>Writes a folder.</summary>
    /// <param name="path">The final path.</param>
    /// <param name="fill">Fills the temporary folder, whose path it is given.</param>
    /// <param name="overwrite">Whether an existing folder is replaced.</param>
    /// <exception cref="OpenElmException">The folder exists, is not empty, and may not be replaced.</exception>
    public static void Write(string path, Action<string> fill, bool overwrite = false)
    {
        ArgumentNullException.ThrowIfNull(fill);
        string full = Path.TrimEndingDirectorySeparator(Path.GetFullPath(path));
        if (File.Exists(full))
        {
            throw new OpenElmException($"{path} is a file; name a folder to write to.");
        }

        if (!overwrite && Directory.Exists(full) && Directory.EnumerateFileSystemEntries(full).Any())
        {
            throw new OpenElmException($"The folder {path} exists and is not empty; choose another name or delete it first.");
        }

        string parent = Path.GetDirectoryName(full)!;
        Directory.CreateDirectory(parent);
        string partial = $"{full}.{Guid.NewGuid():N}{PartialEnding}";
        Directory.CreateDirectory(partial);
        try
        {
            fill(partial);
            foreach (string file in Directory.EnumerateFiles(partial, "*", SearchOption.AllDirectories))
            {
                DurableIO.SyncFile(file);
            }

            DurableIO.SyncFolder(partial);
            Replace(partial, full);
            DurableIO.SyncFolder(parent);
        }
        catch
        {
            if (Directory.Exists(partial))
            {
                Directory.Delete(partial, recursive: true);
            }

            throw;
        }
    }

    // A folder cannot be renamed over one that has files: the old one steps aside first and is deleted last.
    static void Replace(string partial, string full)
    {
        if (!Directory.Exists(full))
        {
            Directory.Move(partial, full);
            return;
        }

        string old = $"{full}.{Guid.NewGuid():N}.old{PartialEnding}";
        Directory.Move(full, old);
        try
        {
            Directory.Move(partial, full);
        }
        catch
        {
            Directory.Move(old, full);
            throw;
        }

        Directory.Delete(old, recursive: true);
    }
}
