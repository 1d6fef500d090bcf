namespace OpenElm.Data.Tests;

/// <summary>What a tokenizer is trained on.</summary>
public sealed class CorpusTextsTests
{
    static readonly DataConfig Config = new()
    {
        Sources = [new() { FileName = "a.jsonl.gz" }, new() { FileName = "b.txt" }],
        Shards = 5,
        ShuffleData = true,
        MinCharactersPerText = 1000, // neither order nor filters count
    };

    [Fact]
    public void Every_document_once_in_order_and_cleaned()
    {
        using var folder = new CorpusFolder();
        folder.Write("a.jsonl.gz", "ﬁrst", "", "second");
        folder.Write("b.txt", "third\r\n");
        Assert.Equal(["first", "", "second", "third\n"], new CorpusTexts(Config, folder.Root).Read());
        Assert.Equal(["ﬁrst", "", "second", "third\r\n"], new CorpusTexts(Config with { CleanUp = false }, folder.Root).Read());
    }

    [Fact]
    public void Bad_records_follow_the_policy()
    {
        using var folder = new CorpusFolder();
        folder.WriteLines("a.jsonl.gz", "{\"text\": \"one\"}", "nonsense", "{\"text\": \"two\"}");
        File.WriteAllBytes(folder["b.txt"], []);
        Assert.Contains("line 2", Assert.Throws<OpenElmException>(() => new CorpusTexts(Config, folder.Root).Read().Count()).Message);
        List<string> warnings = [];
        var skipping = new CorpusTexts(Config with { OnBadRecord = BadRecordPolicy.Skip }, folder.Root, warnings.Add);
        Assert.Equal(["one", "two"], skipping.Read());
        Assert.Equal(2, warnings.Count);
    }
}
