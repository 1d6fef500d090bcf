using System.Text;

namespace OpenElm.IO;

/// <summary>
/// Writes a file under a temporary name, syncs it, and renames it: readers see the old file or the new one, never a half.
/// A failure deletes the temporary file and leaves the old one.
/// </summary>
public static class AtomicFile
{
    /// <summary>Writes a file.</summary>
    /// <param name="path">The final path; its folder is created.</param>
    /// <param name="write">Writes the content.</param>
    /// <param name="check">Looks at the finished file, whose temporary path it is given; throws to keep it from its place.</param>
    public static void Write(string path, Action<Stream> write, Action<string>? check = null)
    {
        ArgumentNullException.ThrowIfNull(write);
        string full = Path.GetFullPath(path);
        string folder = Path.GetDirectoryName(full)!;
        Directory.CreateDirectory(folder);
        string partial = $"{full}.{Guid.NewGuid():N}.partial";
        try
        {
            using (var stream = new FileStream(partial, FileMode.CreateNew, FileAccess.ReadWrite, FileShare.None, bufferSize: 1 << 20))
            {
                write(stream);
                stream.Flush(flushToDisk: true);
            }

            check?.Invoke(partial);
            File.Move(partial, full, overwrite: true);
            DurableIO.SyncFolder(folder);
        }
        catch
        {
            File.Delete(partial);
            throw;
        }
    }

    /// <summary>Refuses a path that is taken.</summary>
    /// <param name="path">The final path.</param>
    /// <param name="overwrite">Whether an existing file may be replaced.</param>
    /// <exception cref="OpenElmException">There is a folder, or a file that may not be replaced.</exception>
    public static void RefuseExisting(string path, bool overwrite)
    {
        if (Directory.Exists(path))
        {
            throw new OpenElmException($"{path} is a folder; name a file to write to.");
        }

        if (!overwrite && File.Exists(path))
        {
            throw new OpenElmException($"The file {path} exists; choose another name or delete it first.");
        }
    }

    /// <summary>Writes a text file in UTF-8 without a byte-order mark.</summary>
    /// <param name="path">The final path.</param>
    /// <param name="text">The content.</param>
    public static void WriteText(string path, string text) => Write(path, stream => stream.Write(Encoding.UTF8.GetBytes(text)));

    /// <summary>Writes a file of bytes.</summary>
    /// <param name="path">The final path.</param>
    /// <param name="bytes">The content.</param>
    public static void WriteBytes(string path, ReadOnlyMemory<byte> bytes) => Write(path, stream => stream.Write(bytes.Span));
}
