using System.Runtime.InteropServices;

namespace OpenElm.IO;

/// <summary>Forces a folder's entries to the disk, so that a rename survives a power cut. Does nothing on Windows, which needs no such call.</summary>
internal static partial class DurableIO
{
    public static void SyncFolder(string path)
    {
        if (OperatingSystem.IsWindows())
        {
            return;
        }

        const int ReadOnly = 0;
        int descriptor = Open(path, ReadOnly);
        if (descriptor >= 0)
        {
            // A file system that cannot sync folders says so (EINVAL); there is nothing more to do then.
            _ = FSync(descriptor);
            _ = Close(descriptor);
        }
    }

    public static void SyncFile(string path)
    {
        using FileStream file = new(path, FileMode.Open, FileAccess.ReadWrite, FileShare.Read);
        file.Flush(flushToDisk: true);
    }

    [LibraryImport("libc", EntryPoint = "open", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Open(string path, int flags);

    [LibraryImport("libc", EntryPoint = "fsync")]
    private static partial int FSync(int descriptor);

    [LibraryImport("libc", EntryPoint = "close")]
    private static partial int Close(int descriptor);
}
