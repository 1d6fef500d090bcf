using System.IO.Compression;
using System.Text;
using System.Text.Json;
using Parquet;
using Parquet.Schema;
using ZstdSharp;

namespace OpenElm.Data.Tests;

/// <summary>A temporary folder of hand-made data files.</summary>
sealed class CorpusFolder : IDisposable
{
    public CorpusFolder()
    {
        Root = Directory.CreateTempSubdirectory("openelm-data-").FullName;
    }

    public string Root { get; }

    public string this[string name] => Path.Combine(Root, name);

    /// <summary>Writes texts in the format that the name's ending says.</summary>
    public void Write(string name, params ReadOnlySpan<string> texts)
    {
        if (name.EndsWith(".parquet", StringComparison.Ordinal))
        {
            WriteParquet(name, "text", texts.ToArray());
            return;
        }

        string content = name.Contains(".json", StringComparison.Ordinal)
            ? string.Concat(texts.ToArray().Select(text => JsonSerializer.Serialize(new { source = "test", text }) + "\n"))
            : string.Concat(texts.ToArray());
        WriteBytes(name, Encoding.UTF8.GetBytes(content));
    }

    /// <summary>Writes bytes, compressed as the name's ending says.</summary>
    public void WriteBytes(string name, ReadOnlySpan<byte> bytes)
    {
        using FileStream file = File.Create(this[name]);
        using Stream stream = Path.GetExtension(name) switch
        {
            ".gz" => new GZipStream(file, CompressionLevel.Fastest),
            ".zst" => new CompressionStream(file),
            _ => file,
        };
        stream.Write(bytes);
    }

    public void WriteLines(string name, params ReadOnlySpan<string> lines) =>
        WriteBytes(name, Encoding.UTF8.GetBytes(string.Concat(lines.ToArray().Select(line => line + "\n"))));

    public void WriteParquet(string name, string column, string?[] texts, int rowsPerGroup = 3)
    {
        var field = new DataField<string>(column);
        var number = new DataField<int>("id");
        Run().GetAwaiter().GetResult();

        async Task Run()
        {
            await using FileStream file = File.Create(this[name]);
            await using ParquetWriter writer = await ParquetWriter.CreateAsync(new ParquetSchema(number, field), file);
            foreach (string?[] rows in texts.Chunk(rowsPerGroup))
            {
                using ParquetRowGroupWriter group = writer.CreateRowGroup();
                await group.WriteAsync<int>(number, Enumerable.Range(0, rows.Length).ToArray());
                await group.WriteAsync(field, rows!);
            }
        }
    }

    /// <summary>Cuts bytes off the end of a file.</summary>
    public void Truncate(string name, double keep)
    {
        byte[] bytes = File.ReadAllBytes(this[name]);
        File.WriteAllBytes(this[name], bytes[..(int)(bytes.Length * keep)]);
    }

    public void Dispose() => Directory.Delete(Root, recursive: true);
}
