namespace OpenElm.IO;

/// <summary>Files that may be symbolic links, as those of Hugging Face's cache are: the length of a link is not that of its file.</summary>
public static class LinkedFile
{
    /// <summary>The length of the file behind any links.</summary>
    /// <param name="file">A file that exists.</param>
    /// <returns>Bytes.</returns>
    /// <exception cref="IOException">A link leads nowhere.</exception>
    public static long LengthBehindLinks(this FileInfo file)
    {
        ArgumentNullException.ThrowIfNull(file);
        return file.ResolveLinkTarget(returnFinalTarget: true) is FileInfo target ? target.Length : file.Length;
    }
}
