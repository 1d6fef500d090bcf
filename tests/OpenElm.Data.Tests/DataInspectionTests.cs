namespace OpenElm.Data.Tests;

/// <summary>The report adds up, against counts made by hand and by the plain pipeline.</summary>
public sealed class DataInspectionTests
{
    static readonly string[] First = ["one two three four five six seven", "x", "a somewhat longer text, and more of it than fits"];
    static readonly string[] Second = ["p q r s t u v w x y z", "", "last"];

    [Fact]
    public void Report_adds_up()
    {
        using var folder = new CorpusFolder();
        folder.Write("a-0.jsonl.gz", First);
        folder.Write("a-1.jsonl.gz", First[0]);
        folder.Write("b.parquet", Second);
        var config = new DataConfig
        {
            Sources = [new() { FileName = "a-{file_id}.jsonl.gz", FileIdRange = [0, 2] }, new() { FileName = "b.parquet" }],
            SequenceLength = 12,
            DocumentSplitSize = 4,
            MinCharactersPerText = 3,
            MinTokensPerText = 7,
            Workers = 2,
        };
        string[] documents = [.. First, First[0], .. Second];
        DataReport report = DataInspection.Run(config, folder.Root, new ByteEncoder(), samples: 2);

        Assert.Equal(["a-{file_id}.jsonl.gz", "b.parquet"], report.Sources.Select(source => source.FileName));
        Assert.Equal([2, 1], report.Sources.Select(source => source.Files));
        Assert.Equal([4L, 3L], report.Sources.Select(source => source.Documents));
        Assert.Equal(documents.Sum(text => (long)text.Length), report.Sources.Sum(source => source.Characters));
        Assert.Equal(documents.Sum(text => (long)text.Length + 2), report.Sources.Sum(source => source.Tokens));
        Assert.Equal(new FileInfo(folder["b.parquet"]).Length, report.Sources[1].Bytes);

        foreach (ModeReport mode in report.Modes)
        {
            DataConfig reference = config with { Mode = mode.Mode };
            int[][] kept = [.. documents.SelectMany(text => ReferencePipeline.Texts(reference, text))];
            int[][] all = [.. documents.SelectMany(text => ReferencePipeline.Texts(reference with { MinCharactersPerText = 0, MinTokensPerText = 0 }, text))];
            bool faithful = mode.Mode == DataMode.Faithful;
            long expected = kept.Sum(tokens => (long)(faithful ? Math.Min(13, tokens.Length) : tokens.Length));
            Assert.Equal(all.Length, mode.Texts);
            Assert.Equal(expected, mode.TokensKept);
            Assert.Equal(all.Sum(tokens => (long)tokens.Length) - expected, mode.TokensDropped);
            Assert.Equal(faithful ? kept.Length : (expected - 1) / 12, mode.Sequences);
            Assert.Equal(faithful ? (13 * kept.Length) - expected : 0, mode.TokensPadded);
            Assert.Equal(all.Length - kept.Length, mode.TextsTooShort + mode.TextsTooFewTokens);
            Assert.Equal(1, mode.KeptShare + mode.DroppedShare, 1e-12);
        }

        Assert.Equal(2, report.Samples.Length);
        Assert.Equal(($"{folder["a-0.jsonl.gz"]} line 1", "one two thr"), (report.Samples[0].Origin, report.Samples[0].Text));
    }

    [Fact]
    public void An_error_is_one_sentence()
    {
        using var folder = new CorpusFolder();
        folder.Write("a.jsonl", "fine");
        folder.WriteLines("b.jsonl", "nonsense");
        var config = new DataConfig { Sources = [new() { FileName = "a.jsonl" }, new() { FileName = "b.jsonl" }], SequenceLength = 4, Workers = 2 };
        Assert.Contains("b.jsonl line 1 is not valid JSON", Assert.Throws<OpenElmException>(() => DataInspection.Run(config, folder.Root, new ByteEncoder())).Message);
    }
}
