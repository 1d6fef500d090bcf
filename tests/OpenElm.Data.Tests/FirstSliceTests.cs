using System.Collections.Immutable;
namespace OpenElm.Data.Tests;

public sealed class FirstSliceTests
{
    [Fact]
    public void Packing_runs_on_across_files_and_epochs()
    {
        using var folder = new CorpusFolder();
        folder.Write("a.jsonl.gz", "hello", "wörld\n ok");
        folder.Write("b.parquet", "p1", "p2", "p3", "p4");
        folder.Write("c.txt.zst", "plain text");
        var config = new DataConfig { Sources = [new DataSource { FileName = "a.jsonl.gz" }, new() { FileName = "b.parquet" }, new() { FileName = "c.txt.zst" }], SequenceLength = 7, Mode = DataMode.Packing };
        int[] once = [.. new[] { "hello", "wörld\n ok", "p1", "p2", "p3", "p4", "plain text" }.SelectMany(t => ByteEncoder.Tokens(t))];
        using var stream = new BatchStream(config, folder.Root, new ByteEncoder(), 2);
        int at = 0;
        for (int b = 0; b < 20; b++)
        {
            TokenBatch batch = stream.Next();
            for (int i = 0; i < 14; i++, at++)
            {
                Assert.Equal(once[at % once.Length], batch.Inputs[i]);
                Assert.Equal(once[(at + 1) % once.Length], batch.Targets[i]);
            }
        }
    }
}
