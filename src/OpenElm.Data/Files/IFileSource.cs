using OpenElm.IO;

namespace OpenElm.Data.Files;

/// <summary>Where files come from. Local disks today; the seam for downloads and object stores.</summary>
internal interface IFileSource
{
    /// <summary>Length in bytes, or null if there is no such file.</summary>
    long? LengthOf(string path);

    /// <summary>Opens a file to be read from its beginning; seekable where the format needs it (parquet).</summary>
    Stream Open(string path);
}

/// <summary>Files of this machine.</summary>
internal sealed class LocalFiles : IFileSource
{
    public static LocalFiles Instance { get; } = new();

    public long? LengthOf(string path)
    {
        var file = new FileInfo(path);
        return file.Exists ? file.LengthBehindLinks() : null;
    }

    // The readers above bring their own buffers.
    public Stream Open(string path) =>
        new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read, bufferSize: 0, FileOptions.SequentialScan);
}
