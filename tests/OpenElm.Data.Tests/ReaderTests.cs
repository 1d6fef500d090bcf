using System.IO.Compression;
using System.Text;
using OpenElm.Data.Files;
using OpenElm.Data.Readers;

namespace OpenElm.Data.Tests;

/// <summary>What each kind of file gives, record by record.</summary>
public sealed class ReaderTests
{
    static readonly string[] Texts = ["first", "", "sep\u2028 and \u0085 stay", "quote \" back\\slash \n\t", "😀 中文", new string('x', 200_000), "last"];

    static DataFile File(CorpusFolder folder, string name, string key = "text") =>
        new(0, name, folder[name], key, new FileInfo(folder[name]).Length);

    static List<string> ReadAll(CorpusFolder folder, string name, string key = "text", long from = 0)
    {
        using DocumentReader reader = DocumentFormat.Open(File(folder, name, key), LocalFiles.Instance);
        reader.SkipTo(from);
        List<string> texts = [];
        while (reader.Read())
        {
            texts.Add(reader.Text.ToString());
        }

        Assert.False(reader.Read()); // the end stays the end
        return texts;
    }

    [Theory]
    [InlineData("a.jsonl")]
    [InlineData("a.jsonl.gz")]
    [InlineData("a.json.gz")]
    [InlineData("a.jsonl.zst")]
    [InlineData("a.json.zst")]
    [InlineData("a.parquet")]
    [InlineData("A.JSONL.GZ")]
    public void Every_kind_gives_the_same_texts_from_every_record_on(string name)
    {
        using var folder = new CorpusFolder();
        if (name == "A.JSONL.GZ")
        {
            folder.Write("x.jsonl.gz", Texts);
            System.IO.File.Move(folder["x.jsonl.gz"], folder[name]);
        }
        else
        {
            folder.Write(name, Texts);
        }

        for (int from = 0; from <= Texts.Length + 1; from++)
        {
            Assert.Equal(Texts.Skip(from), ReadAll(folder, name, from: from));
        }
    }

    [Theory]
    [InlineData("a.txt")]
    [InlineData("a.txt.gz")]
    [InlineData("a.txt.zst")]
    public void A_text_file_is_one_document(string name)
    {
        using var folder = new CorpusFolder();
        folder.Write(name, "\uFEFFline one\r\nline two \u2028 é\n");
        Assert.Equal(["line one\r\nline two \u2028 é\n"], ReadAll(folder, name));
        Assert.Empty(ReadAll(folder, name, from: 1));
    }

    [Fact]
    public void Json_lines_are_read_as_Python_reads_them()
    {
        using var folder = new CorpusFolder();
        folder.WriteBytes("a.jsonl", Encoding.UTF8.GetBytes(
            "\uFEFF{\"text\": \"bom\"}\r\n"
            + "{\"meta\": {\"text\": \"inner\", \"a\": [1, {\"text\": 2}]}, \"text\": \"outer\", \"z\": null}\n"
            + "  \t\n"
            + "{\"text\": \"first\", \"text\": \"second\"}\n"
            + "{\"te\\u0078t\": \"escaped key\"}\n"
            + "{\"text\": \"half \\ud83d pair, \\ud83d\\ude00 pair, \\n \\\" \\/ \\u00e9 é\"}\n"
            + "{\"text\": \"no line feed\"}"));
        Assert.Equal(["bom", "outer", "second", "escaped key", "half \uFFFD pair, 😀 pair, \n \" / é é", "no line feed"], ReadAll(folder, "a.jsonl"));
        Assert.Equal(["second", "escaped key"], ReadAll(folder, "a.jsonl", from: 2).Take(2)); // the blank line is counted
    }

    [Fact]
    public void Lines_longer_than_the_buffer_are_whole()
    {
        string[] lines = [.. Enumerable.Range(0, 40).Select(i => new string((char)('a' + (i % 26)), i * 7))];
        using var stream = new MemoryStream(Encoding.UTF8.GetBytes(string.Join('\n', lines)));
        using var reader = new Utf8LineReader(stream, "memory", bufferSize: 5);
        foreach (string line in lines)
        {
            Assert.True(reader.TryRead(out ReadOnlySpan<byte> bytes));
            Assert.Equal(line, Encoding.UTF8.GetString(bytes));
        }

        Assert.False(reader.TryRead(out _));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(5)]
    [InlineData(8191)]
    [InlineData(8192)]
    [InlineData(16_383)]
    [InlineData(16_384)]
    [InlineData(100_000)]
    public void Gzip_members_follow_each_other(int length)
    {
        // Noise does not compress, so that the members' ends fall on every side of the buffers' borders.
        using var file = new MemoryStream();
        List<byte> content = [];
        for (int member = 0; member < 24; member++)
        {
            byte[] bytes = new byte[length + member];
            new Random(member).NextBytes(bytes);
            content.AddRange(bytes);
            using var gzip = new GZipStream(file, CompressionLevel.Fastest, leaveOpen: true);
            gzip.Write(bytes);
        }

        byte[] whole = file.ToArray();
        Assert.Equal(content, Unzip(whole));
        Assert.Throws<InvalidDataException>(() => Unzip(whole[..^1]));
        Assert.Throws<InvalidDataException>(() => Unzip([.. whole, 0]));
        byte[] wrongChecksum = [.. whole];
        wrongChecksum[^8] ^= 1;
        Assert.Throws<InvalidDataException>(() => Unzip(wrongChecksum));

        static byte[] Unzip(byte[] bytes)
        {
            using var reader = new GzipReader(new MemoryStream(bytes));
            using var result = new MemoryStream();
            reader.CopyTo(result);
            return result.ToArray();
        }
    }

    [Fact]
    public void Gzip_header_fields_are_passed_over()
    {
        byte[] header = [0x1F, 0x8B, 8, 4 + 8 + 16 + 2, 0, 0, 0, 0, 0, 3, 2, 0, 9, 9, .. "name\0comment\0"u8, 7, 7];
        using var body = new MemoryStream();
        using (var gzip = new GZipStream(body, CompressionLevel.Fastest, leaveOpen: true))
        {
            gzip.Write("content"u8);
        }

        using var reader = new GzipReader(new MemoryStream([.. header, .. body.ToArray().AsSpan(10)]));
        using var text = new StreamReader(reader);
        Assert.Equal("content", text.ReadToEnd());
    }

    [Fact]
    public void Parquet_reads_another_column_by_its_name()
    {
        using var folder = new CorpusFolder();
        folder.WriteParquet("a.parquet", "content", ["one", "two"]);
        Assert.Equal(["one", "two"], ReadAll(folder, "a.parquet", "content"));
    }
}
