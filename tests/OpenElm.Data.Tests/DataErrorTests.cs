using OpenElm.Data.Files;
using OpenElm.Data.Texts;

namespace OpenElm.Data.Tests;

/// <summary>Every damage is named with its file and record, or skipped and counted where the configuration says so.</summary>
public sealed class DataErrorTests : IDisposable
{
    static readonly string Filler = string.Concat(Enumerable.Range(0, 4000).Select(i => $"{i * 7919 % 10007} "));

    readonly CorpusFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    static DataConfig ConfigOf(params ReadOnlySpan<string> names) => new()
    {
        Sources = [.. names.ToArray().Select(name => new DataSource { FileName = name })],
        SequenceLength = 8,
        DocumentSplitSize = 4,
    };

    string Failure(DataConfig config) => Assert.Throws<OpenElmException>(() =>
    {
        using var stream = new BatchStream(config, _folder.Root, new ByteEncoder(), 1);
        for (int i = 0; i < 100_000; i++)
        {
            stream.Next();
        }
    }).Message;

    /// <summary>Reads the bad file and a good one under the skip policy until the good one comes; returns the warnings.</summary>
    List<string> Skipped(string name, out long counted)
    {
        _folder.Write("good.jsonl", "the good one");
        List<string> warnings = [];
        using var stream = new BatchStream(ConfigOf(name, "good.jsonl") with { OnBadRecord = BadRecordPolicy.Skip, PrefetchBatches = 1 },
            _folder.Root, new ByteEncoder(), 1, onWarning: warnings.Add);
        TokenBatch batch;
        do
        {
            batch = stream.Next();
        }
        while (!batch.Origin.StartsWith(_folder["good.jsonl"], StringComparison.Ordinal));
        counted = stream.Statistics.BadRecords;
        return [.. warnings.Take((int)counted)];
    }

    [Theory]
    [InlineData("{\"text\": \"cut of", "line 2 is not valid JSON")]
    [InlineData("{\"body\": \"x\"}", "line 2 has no key 'text'")]
    [InlineData("{\"text\": null}", "line 2 has no text under 'text': its value is null")]
    [InlineData("{\"text\": 5}", "line 2 has no text under 'text': its value is a number")]
    [InlineData("[1, 2]", "line 2 is not a JSON object")]
    [InlineData("{\"text\": \"a\"} {\"text\": \"b\"}", "line 2 is not valid JSON")]
    public void Bad_line(string line, string expected)
    {
        _folder.WriteLines("a.jsonl", "{\"text\": \"fine\"}", line, "{\"text\": \"behind\"}");
        string message = Failure(ConfigOf("a.jsonl"));
        Assert.Contains(_folder["a.jsonl"], message);
        Assert.Contains(expected, message);

        List<string> warnings = Skipped("a.jsonl", out long counted);
        Assert.Equal(1, counted);
        Assert.Contains(expected, Assert.Single(warnings));
    }

    [Fact]
    public void Records_behind_a_skipped_one_are_read()
    {
        _folder.WriteLines("a.jsonl", "{\"text\": \"fine\"}", "nonsense", "{\"text\": \"behind\"}");
        using var stream = new BatchStream(ConfigOf("a.jsonl") with { OnBadRecord = BadRecordPolicy.Skip }, _folder.Root, new ByteEncoder(), 1);
        Assert.EndsWith("line 1", stream.Next().Origin);
        Assert.EndsWith("line 3", stream.Next().Origin);
    }

    [Fact]
    public void Wrong_UTF8_in_json()
    {
        _folder.WriteBytes("a.jsonl", [.. "{\"text\": \"fine\"}\n{\"text\": \"b"u8, 0xFF, .. "d\"}\n"u8]);
        Assert.Contains($"{_folder["a.jsonl"]} line 2 holds a text that is not valid UTF-8", Failure(ConfigOf("a.jsonl")));
        Assert.Single(Skipped("a.jsonl", out _));
    }

    [Fact]
    public void Wrong_UTF8_beside_half_a_surrogate_pair()
    {
        _folder.WriteBytes("a.jsonl", [.. "{\"text\": \"\\ud83d b"u8, 0xFF, .. "d\"}\n"u8]);
        Assert.Contains("line 1 holds a text that is not valid UTF-8", Failure(ConfigOf("a.jsonl")));
    }

    [Fact]
    public void Wrong_UTF8_in_text()
    {
        _folder.WriteBytes("a.txt", [.. "abc"u8, 0xC3, (byte)'x']);
        Assert.Contains($"{_folder["a.txt"]} is not valid UTF-8 at byte 3", Failure(ConfigOf("a.txt")));
        Assert.Single(Skipped("a.txt", out _));
    }

    [Fact]
    public void Null_in_parquet()
    {
        _folder.WriteParquet("a.parquet", "text", ["x", "y", null, "z"]);
        Assert.Contains($"{_folder["a.parquet"]} row 2 has no text in column 'text': it is null", Failure(ConfigOf("a.parquet")));
        Assert.Single(Skipped("a.parquet", out _));
    }

    [Fact]
    public void Missing_column_names_those_there_are()
    {
        _folder.WriteParquet("a.parquet", "content", ["x"]);
        Assert.Contains("has no column 'text'; set text_key to one of its columns: id, content", Failure(ConfigOf("a.parquet")));
        Assert.Single(Skipped("a.parquet", out _));
    }

    [Fact]
    public void Column_of_numbers()
    {
        _folder.WriteParquet("a.parquet", "text", ["x"]);
        DataConfig config = ConfigOf("a.parquet");
        Assert.Contains("holds Int32 in column 'id', not text", Failure(config with { Sources = [config.Sources[0] with { TextKey = "id" }] }));
    }

    [Theory]
    [InlineData("a.jsonl.gz")]
    [InlineData("a.jsonl.zst")]
    [InlineData("a.txt.gz")]
    [InlineData("a.txt.zst")]
    [InlineData("a.parquet")]
    public void Truncated_file(string name)
    {
        _folder.Write(name, [.. Enumerable.Range(0, 50).Select(i => $"{i} {Filler}")]);
        _folder.Truncate(name, 0.6);
        string message = Failure(ConfigOf(name));
        Assert.Contains($"{_folder[name]} is corrupt or truncated", message);
        Assert.Contains("fetch the file again", message);
        Assert.Single(Skipped(name, out _));
    }

    [Theory]
    [InlineData("a.jsonl.gz")]
    [InlineData("a.jsonl.zst")]
    public void File_cut_right_at_its_end(string name)
    {
        _folder.Write(name, "one", "two");
        byte[] bytes = File.ReadAllBytes(_folder[name]);
        File.WriteAllBytes(_folder[name], bytes[..^2]); // all text is there, the checksum is not
        Assert.Contains("is corrupt or truncated", Failure(ConfigOf(name)));
    }

    [Theory]
    [InlineData("a.jsonl.gz")]
    [InlineData("a.jsonl.zst")]
    [InlineData("a.parquet")]
    public void Corrupt_file(string name)
    {
        _folder.Write(name, [.. Enumerable.Range(0, 50).Select(i => $"{i} {Filler}")]);
        byte[] bytes = File.ReadAllBytes(_folder[name]);
        // Parquet has no checksum over its data; there it is the first page's header that is damaged.
        int start = name == "a.parquet" ? 4 : bytes.Length / 2;
        for (int i = 0; i < 64; i++)
        {
            bytes[start + i] ^= 0x5A;
        }

        File.WriteAllBytes(_folder[name], bytes);
        string message = Failure(ConfigOf(name));
        Assert.Contains(_folder[name], message);
        Assert.NotEmpty(Skipped(name, out _));
    }

    [Theory]
    [InlineData("a.jsonl.gz")]
    [InlineData("a.jsonl.zst")]
    [InlineData("a.parquet")]
    public void File_that_is_not_what_its_ending_says(string name)
    {
        File.WriteAllText(_folder[name], "this is no such file, whatever its name says");
        Assert.Contains($"{_folder[name]} is corrupt or truncated", Failure(ConfigOf(name)));
        Assert.Single(Skipped(name, out _));
    }

    [Theory]
    [InlineData("a.jsonl")]
    [InlineData("a.jsonl.gz")]
    [InlineData("a.txt")]
    [InlineData("a.parquet")]
    public void Empty_file(string name)
    {
        File.WriteAllBytes(_folder[name], []);
        Assert.Contains($"{_folder[name]} is empty", Failure(ConfigOf(name)));
        Assert.Single(Skipped(name, out _));
    }

    [Theory]
    [InlineData("a.jsonl.gz")]
    [InlineData("a.txt.gz")]
    [InlineData("a.parquet")]
    public void File_without_documents(string name)
    {
        if (name == "a.parquet")
        {
            _folder.WriteParquet(name, "text", []);
        }
        else
        {
            byte[] emptyGzip = [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            File.WriteAllBytes(_folder[name], emptyGzip);
        }

        Assert.Matches("holds no (documents|text)", Failure(ConfigOf(name)));
        Assert.Single(Skipped(name, out _));
    }

    [Fact]
    public void Missing_files_are_reported_at_once()
    {
        _folder.Write("part-0001.jsonl", "x");
        DataConfig config = ConfigOf("part-{file_id:04d}.jsonl") with { };
        string message = Failure(config with { Sources = [config.Sources[0] with { FileIdRange = [0, 20] }] });
        Assert.Contains(_folder["part-0000.jsonl"], message);
        Assert.Contains(_folder["part-0002.jsonl"], message);
        Assert.DoesNotContain("part-0001", message);
        Assert.Contains("and 9 more are missing", message);
    }

    [Fact]
    public void Filters_that_drop_everything_end_with_an_error_not_in_a_loop()
    {
        _folder.Write("a.jsonl", "x", "y");
        Assert.Contains("passes the filters; lower data.min_tokens_per_text", Failure(ConfigOf("a.jsonl") with { MinCharactersPerText = 100 }));
        Assert.Contains("passes the filters", Failure(ConfigOf("a.jsonl") with { MinTokensPerText = 100, Mode = DataMode.Packing }));
    }

    [Fact]
    public void The_failure_comes_again_at_every_call()
    {
        _folder.WriteLines("a.jsonl", "nonsense");
        using var stream = new BatchStream(ConfigOf("a.jsonl"), _folder.Root, new ByteEncoder(), 1);
        Assert.Throws<OpenElmException>(() => stream.Next());
        Assert.Throws<OpenElmException>(() => stream.Next());
    }

    [Fact]
    public void Positions_that_cannot_be_are_refused()
    {
        _folder.Write("a.jsonl", "x", "y");
        using var stream = new BatchStream(ConfigOf("a.jsonl"), _folder.Root, new ByteEncoder(), 1);
        DataPosition position = stream.Position;
        Refused(position with { Shards = [] });
        Refused(position with { NextBatch = -1 });
        Refused(position with { Shards = [new ShardPosition(1, 0, 7, 0, 1)] });
        Assert.Throws<OpenElmException>(() => DataPosition.FromJson("{\"next_batch\": 1}"));
        Assert.Throws<OpenElmException>(() => DataPosition.FromJson("null"));
        Assert.Throws<OpenElmException>(() => DataPosition.Merge([position, position with { NextBatch = 4 }]));

        void Refused(DataPosition bad) => Assert.Contains("damaged", Assert.Throws<OpenElmException>(() =>
        {
            using var other = new BatchStream(ConfigOf("a.jsonl"), _folder.Root, new ByteEncoder(), 1, bad);
            other.Next();
        }).Message);
    }

    [Fact]
    public void A_wait_for_a_batch_can_be_cancelled()
    {
        _folder.Write("a.jsonl", "x");
        using var cancel = new CancellationTokenSource();
        cancel.Cancel();
        using var stream = new BatchStream(ConfigOf("a.jsonl"), _folder.Root, new ByteEncoder(), 1);
        Assert.ThrowsAny<OperationCanceledException>(() => stream.Next(cancel.Token));
    }

    [Fact]
    public void Reading_that_finds_nothing_can_be_stopped()
    {
        _folder.Write("a.jsonl", [.. Enumerable.Repeat("x", 100)]);
        using var cancel = new CancellationTokenSource();
        DataConfig config = ConfigOf("a.jsonl") with { MinCharactersPerText = 100 };
        var file = new DataFile(0, "a.jsonl", _folder["a.jsonl"], "text", 1);
        var counters = new DataCounters();
        using var texts = new LiveTexts(file, new CancellingFiles(cancel), config, new ByteEncoder(), counters, null, cancel.Token);
        Assert.Throws<OperationCanceledException>(() => texts.Read());
        Assert.Equal(0, counters.Documents);
    }

    /// <summary>The user's wish to stop arrives while the file is being opened.</summary>
    sealed class CancellingFiles(CancellationTokenSource cancel) : IFileSource
    {
        public long? LengthOf(string path) => LocalFiles.Instance.LengthOf(path);

        public Stream Open(string path)
        {
            cancel.Cancel();
            return LocalFiles.Instance.Open(path);
        }
    }
}
