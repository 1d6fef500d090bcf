using System.Text;

namespace OpenElm.Data.Tests;

/// <summary>Validation text: once, in order, with the bytes and words that are scored.</summary>
public sealed class HeldOutTextTests
{
    static readonly string[] Texts = ["one two  three", "vier fünf", "six", "a longer text that runs over several of the short rows"];

    static DataConfig Config(DataMode mode) => new()
    {
        Sources = [new() { FileName = "a.jsonl" }],
        SequenceLength = 8,
        Mode = mode,
        Shards = 3,             // all three are ignored
        ShuffleData = true,
        RandomSeed = 9,
    };

    static int CountWords(string text) => text.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries).Length;

    [Theory]
    [InlineData(false)]
    [InlineData(true)] // as SentencePiece decodes
    public void Packed_text_is_scored_whole_and_once(bool dropsLeadingBlank)
    {
        var encoder = new ByteEncoder { DropsLeadingBlank = dropsLeadingBlank };
        using var folder = new CorpusFolder();
        folder.Write("a.jsonl", Texts);
        HeldOutBatch[] batches = [.. new HeldOutText(Config(DataMode.Packing), folder.Root, encoder, 2).Read()];
        int[] all = [.. Texts.SelectMany(text => ByteEncoder.Tokens(text))];
        Assert.Equal(all.Skip(1), batches.SelectMany(b => b.Batch.Targets).Where(token => token != 258));
        Assert.Equal(all.SkipLast(1), batches.SelectMany(b => b.Batch.Inputs).Take(all.Length - 1));
        foreach (HeldOutBatch batch in batches)
        {
            for (int i = 0; i < 16; i++)
            {
                // Within a row, a target is the next input.
                Assert.True(i % 8 == 7 || batch.Batch.Targets[i] == batch.Batch.Inputs[i + 1], $"batch {batch.Batch.Index}, place {i}");
            }
        }

        Assert.Equal(all.Length - 1, batches.Sum(b => b.Tokens));
        Assert.Equal(Texts.Sum(Encoding.UTF8.GetByteCount), batches.Sum(b => b.Bytes));
        Assert.Equal(Texts.Sum(CountWords), batches.Sum(b => b.Words));
        Assert.All(batches, b => Assert.Equal(16, b.Batch.Inputs.Length));
        Assert.Equal(Enumerable.Range(0, batches.Length).Select(i => (long)i), batches.Select(b => b.Batch.Index));
        // A part has its own lengths: bytes are those of its targets (BOS and EOS spell none).
        Assert.All(batches, b => Assert.Equal(b.Batch.Targets.Count(token => token < 256), b.Bytes));
    }

    [Fact]
    public void Faithful_text_counts_only_what_is_scored()
    {
        using var folder = new CorpusFolder();
        folder.Write("a.jsonl", "abc de", "0123456 and more that is cut");
        HeldOutBatch batch = Assert.Single(new HeldOutText(Config(DataMode.Faithful), folder.Root, new ByteEncoder(), 3).Read());
        Assert.Equal((6 + 1 + 8, 6 + 8, 2 + 1), (batch.Tokens, batch.Bytes, batch.Words));
        Assert.Equal(Enumerable.Repeat(258, 8), batch.Batch.Targets[16..]); // the missing row
    }

    [Fact]
    public void Two_readings_are_the_same()
    {
        using var folder = new CorpusFolder();
        folder.Write("a.jsonl", Texts);
        var text = new HeldOutText(Config(DataMode.Packing), folder.Root, new ByteEncoder(), 2);
        Assert.Equal(text.Read().SelectMany(b => b.Batch.Inputs), text.Read().SelectMany(b => b.Batch.Inputs));
    }

    [Fact]
    public void Nothing_to_score_is_an_error()
    {
        using var folder = new CorpusFolder();
        folder.Write("a.jsonl", Texts);
        var text = new HeldOutText(Config(DataMode.Packing) with { MinTokensPerText = 1000 }, folder.Root, new ByteEncoder(), 2);
        Assert.Contains("nothing to score", Assert.Throws<OpenElmException>(() => text.Read().Count()).Message);
        Assert.Throws<OpenElmException>(() => new HeldOutText(Config(DataMode.Packing) with { PreparedDir = "x" }, folder.Root, new ByteEncoder(), 2));
    }
}
