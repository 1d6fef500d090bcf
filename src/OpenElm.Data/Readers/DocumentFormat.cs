using OpenElm.Data.Files;
using ZstdSharp;

namespace OpenElm.Data.Readers;

/// <summary>What a file's ending says about its content. One table, one place that opens a file.</summary>
internal sealed record DocumentFormat(string Ending, ContentKind Content, Compression Compression)
{
    static readonly DocumentFormat[] All =
    [
        new(".parquet", ContentKind.Parquet, Compression.None),
        new(".jsonl", ContentKind.JsonLines, Compression.None),
        new(".jsonl.gz", ContentKind.JsonLines, Compression.Gzip),
        new(".json.gz", ContentKind.JsonLines, Compression.Gzip),
        new(".jsonl.zst", ContentKind.JsonLines, Compression.Zstandard),
        new(".json.zst", ContentKind.JsonLines, Compression.Zstandard),
        new(".txt", ContentKind.PlainText, Compression.None),
        new(".txt.gz", ContentKind.PlainText, Compression.Gzip),
        new(".txt.zst", ContentKind.PlainText, Compression.Zstandard),
    ];

    /// <summary>The endings, for messages.</summary>
    public static string Endings { get; } = string.Join(", ", All.Select(format => format.Ending));

    /// <summary>The format of a file name, or null if its ending is not known.</summary>
    public static DocumentFormat? OfFile(string name) =>
        All.FirstOrDefault(format => name.EndsWith(format.Ending, StringComparison.OrdinalIgnoreCase));

    /// <summary>Opens a file at its first document.</summary>
    public static DocumentReader Open(DataFile file, IFileSource source)
    {
        DocumentFormat format = OfFile(file.Name) ?? throw new OpenElmException(
            $"The ending of '{file.Path}' is not known; supported are {Endings}.");
        if (file.Length == 0)
        {
            throw new OpenElmException($"{file.Path} is empty (0 bytes); give it its texts or take it out of data.sources.");
        }

        Stream stream;
        try
        {
            stream = source.Open(file.Path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new OpenElmException($"{file.Path} cannot be opened: {e.Message}", e);
        }

        Stream content = format.Compression switch
        {
            Compression.Gzip => new GzipReader(stream),
            Compression.Zstandard => new DecompressionStream(stream, leaveOpen: false),
            _ => stream,
        };
        return format.Content switch
        {
            ContentKind.Parquet => new ParquetDocumentReader(file, content),
            ContentKind.JsonLines => new JsonLinesReader(file, content),
            _ => new PlainTextReader(file, content),
        };
    }
}

/// <summary>How the documents lie in a file.</summary>
internal enum ContentKind
{
    Parquet,
    JsonLines,
    PlainText,
}

/// <summary>What lies around the content.</summary>
internal enum Compression
{
    None,
    Gzip,
    Zstandard,
}
