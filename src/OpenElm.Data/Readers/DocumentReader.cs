using OpenElm.Data.Files;

namespace OpenElm.Data.Readers;

/// <summary>
/// The documents of one file, in order. <see cref="Read"/> throws <see cref="OpenElmException"/> for a record that cannot be
/// read; a further call goes on behind it, or returns false if nothing behind it can be read.
/// </summary>
internal abstract class DocumentReader(DataFile file) : IDisposable
{
    /// <summary>The file that is read.</summary>
    protected DataFile File { get; } = file;

    /// <summary>Counts records from 0, blank and bad ones included; -1 before the first.</summary>
    public long Record { get; protected set; } = -1;

    /// <summary>The current document. Valid until the next call of <see cref="Read"/>.</summary>
    public abstract ReadOnlySpan<char> Text { get; }

    /// <summary>Goes to the next document; false at the end of the file.</summary>
    public abstract bool Read();

    /// <summary>Makes <paramref name="record"/> the one that <see cref="Read"/> looks at next. Only before the first read.</summary>
    public abstract void SkipTo(long record);

    /// <summary>Where the current record stands, for messages: <c>a.jsonl line 3</c>.</summary>
    public string Where => Place(File, Record);

    /// <summary>Names a record as its file's readers count.</summary>
    public static string Place(DataFile file, long record) => DocumentFormat.OfFile(file.Name)?.Content switch
    {
        ContentKind.JsonLines => $"{file.Path} line {record + 1}",
        ContentKind.Parquet => $"{file.Path} row {record}",
        _ => file.Path,
    };

    public abstract void Dispose();
}
