namespace OpenElm.Data.Tests;

/// <summary>Nothing is padded, nothing is cut, every token is a target once.</summary>
public sealed class PackingModeTests
{
    [Fact]
    public void Documents_run_on_over_sequences_files_and_epochs()
    {
        using var folder = new CorpusFolder();
        folder.Write("a.jsonl.gz", "hello", "wörld\n ok");
        folder.Write("b.parquet", "p1", "p2", "p3", "p4");
        folder.Write("c.txt.zst", "plain text");
        var config = new DataConfig
        {
            Sources = [new() { FileName = "a.jsonl.gz" }, new() { FileName = "b.parquet" }, new() { FileName = "c.txt.zst" }],
            SequenceLength = 7,
            Mode = DataMode.Packing,
        };
        int[] epoch = [.. new[] { "hello", "wörld\n ok", "p1", "p2", "p3", "p4", "plain text" }.SelectMany(text => ByteEncoder.Tokens(text))];
        using var stream = new BatchStream(config, folder.Root, new ByteEncoder(), 2);
        int at = 0;
        for (int b = 0; b < 20; b++)
        {
            TokenBatch batch = stream.Next();
            for (int i = 0; i < 14; i++, at++)
            {
                Assert.Equal(epoch[at % epoch.Length], batch.Inputs[i]);
                Assert.Equal(epoch[(at + 1) % epoch.Length], batch.Targets[i]);
            }
        }

        DataStatistics counted = stream.Statistics;
        Assert.Equal(at + 1, counted.TokensKept);
        Assert.Equal((0, 0), (counted.TokensPadded, counted.TokensDropped));
    }

    [Fact]
    public void Origin_names_the_record_where_the_first_row_begins()
    {
        using var folder = new CorpusFolder();
        folder.WriteLines("a.jsonl", """{"text": "abcdefgh"}""", "", """{"text": "ijklmnop"}""");
        folder.WriteParquet("b.parquet", "text", ["qrstuvwx"]);
        var config = new DataConfig
        {
            Sources = [new() { FileName = "a.jsonl" }, new() { FileName = "b.parquet" }],
            SequenceLength = 10,
            Mode = DataMode.Packing,
        };
        using var stream = new BatchStream(config, folder.Root, new ByteEncoder(), 1);
        Assert.Equal($"{folder["a.jsonl"]} line 1", stream.Next().Origin);
        Assert.Equal($"{folder["a.jsonl"]} line 3", stream.Next().Origin);
        Assert.Equal($"{folder["b.parquet"]} row 0", stream.Next().Origin);
    }
}
