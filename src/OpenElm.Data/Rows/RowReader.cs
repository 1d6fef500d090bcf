using System.Collections.Immutable;
using System.IO.Compression;
using System.Text;
using OpenElm.Data.Readers;

namespace OpenElm.Data.Rows;

/// <summary>Reads the rows of a file, whatever its form; its ending says which.</summary>
internal static class RowReader
{
    static readonly UTF8Encoding Strict = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    /// <summary>The endings that are read, for searching and for messages.</summary>
    public static IReadOnlyList<string> Endings { get; } = [".jsonl", ".jsonl.gz", ".json", ".json.gz", ".csv", ".csv.gz", ".txt", ".txt.gz", ".raw", ".raw.gz", ".parquet"];

    /// <summary>Whether a file's ending is known.</summary>
    /// <param name="path">Its name.</param>
    public static bool Knows(string path) => Endings.Any(ending => path.EndsWith(ending, StringComparison.OrdinalIgnoreCase));

    /// <summary>Notes the files of a configuration whose endings are not known.</summary>
    /// <param name="files">Their names.</param>
    /// <param name="path">The section that names them.</param>
    /// <param name="key">The key that does.</param>
    /// <param name="problems">Where the problems go.</param>
    public static void RequireKnown(ImmutableArray<string> files, string path, string key, List<string> problems)
    {
        foreach (string file in files.IsDefault ? [] : files)
        {
            problems.Require(Knows(file), path, key, $"names '{file}', whose ending is not known; supported are {string.Join(", ", Endings)}.");
        }
    }

    /// <summary>Reads files one after the other, each when its first row is asked for.</summary>
    /// <param name="files">Their names.</param>
    /// <param name="baseDirectory">The folder that relative names start from.</param>
    /// <param name="maxRows">Take this many rows from the beginning; 0 takes all.</param>
    /// <returns>Their rows.</returns>
    /// <exception cref="OpenElmException">A file is damaged, or a row is wrong; the message names both.</exception>
    public static IEnumerable<DataRow> Read(ImmutableArray<string> files, string baseDirectory, int maxRows = 0)
    {
        IEnumerable<DataRow> rows = files.SelectMany(file => Read(Path.GetFullPath(file, Path.GetFullPath(baseDirectory)), columns: []));
        return maxRows > 0 ? rows.Take(maxRows) : rows;
    }

    /// <summary>Reads a file.</summary>
    /// <param name="path">Its path; <c>archive.zip!member</c> for a member of a zip file.</param>
    /// <param name="columns">The columns of a csv file without a header; empty where there is one.</param>
    /// <returns>Its rows.</returns>
    /// <exception cref="OpenElmException">The file is damaged, or a row is wrong; the message names both.</exception>
    public static List<DataRow> Read(string path, IReadOnlyList<string> columns)
    {
        byte[] bytes = Bytes(path);
        string name = path.EndsWith(".gz", StringComparison.OrdinalIgnoreCase) ? path[..^3] : path;
        ReadOnlyMemory<byte> content = bytes.AsSpan().StartsWith("\uFEFF"u8) ? bytes.AsMemory(3) : bytes;
        List<DataRow> rows = Path.GetExtension(name).ToLowerInvariant() switch
        {
            ".jsonl" or ".json" => JsonRows.Read(content, path),
            ".csv" => CsvRows.Read(Text(content, path), path, columns),
            ".txt" or ".raw" => [new DataRow(new() { ["text"] = Text(content, path) }, path, 1)],
            ".parquet" => [.. ParquetTable.Read(bytes, path).Select((values, i) => new DataRow(values, path, i + 1))],
            _ => throw new OpenElmException($"The ending of {path} is not known; known are {string.Join(", ", Endings)}."),
        };
        return rows is [] ? throw new OpenElmException($"{path} has no rows.") : rows;
    }

    static string Text(ReadOnlyMemory<byte> bytes, string path)
    {
        try
        {
            return Strict.GetString(bytes.Span);
        }
        catch (DecoderFallbackException wrong)
        {
            long row = bytes.Span[..wrong.Index].Count((byte)'\n') + 1;
            throw new OpenElmException($"{path} is not valid UTF-8 in line {row} (byte {wrong.Index}); fetch or convert it again.", wrong);
        }
    }

    static byte[] Bytes(string path)
    {
        try
        {
            using Stream stream = Open(path);
            using var bytes = new MemoryStream();
            stream.CopyTo(bytes);
            return bytes.ToArray();
        }
        catch (Exception cause) when (cause is InvalidDataException or IOException or UnauthorizedAccessException)
        {
            throw new OpenElmException($"{path} cannot be read: {cause.Message.TrimEnd('.')}.", cause);
        }
    }

    static Stream Open(string path)
    {
        if (path.IndexOf('!', StringComparison.Ordinal) is > 0 and int at)
        {
            using ZipArchive archive = ZipFile.OpenRead(path[..at]);
            ZipArchiveEntry member = archive.GetEntry(path[(at + 1)..]) ?? throw new OpenElmException($"{path[..at]} has no member {path[(at + 1)..]}.");
            using Stream packed = member.Open();
            var bytes = new MemoryStream();
            packed.CopyTo(bytes);
            bytes.Position = 0;
            return bytes;
        }

        FileStream file = File.OpenRead(path);
        return path.EndsWith(".gz", StringComparison.OrdinalIgnoreCase) ? new GzipReader(file) : file;
    }
}
