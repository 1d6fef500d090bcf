using OpenElm.Data.Files;

namespace OpenElm.Data.Tests;

/// <summary>File patterns and the values of a configuration.</summary>
public sealed class DataConfigTests
{
    static readonly DataConfig Good = new() { Sources = [new() { FileName = "a.jsonl" }] };

    static List<string> Problems(DataConfig config)
    {
        List<string> problems = [];
        config.Validate("data", problems);
        for (int i = 0; i < config.Sources.Length; i++)
        {
            config.Sources[i].Validate($"data.sources.{i}", problems);
        }

        return problems;
    }

    [Theory]
    [InlineData("refinedweb-{file_id:05d}-of-05534.parquet", "refinedweb-00007-of-05534.parquet")]
    [InlineData("{file_id}.jsonl", "7.jsonl")]
    [InlineData("{file_id:d}.jsonl", "7.jsonl")]
    [InlineData("{file_id:03}.jsonl", "007.jsonl")]
    [InlineData("{file_id:3d}.jsonl", "  7.jsonl")]
    [InlineData("{{x}}-{file_id:02d}/{file_id}.txt", "{x}-07/7.txt")]
    public void Patterns_expand_as_in_Python(string pattern, string name)
    {
        var source = new DataSource { FileName = pattern, FileIdRange = [7, 8] };
        Assert.Empty(Problems(Good with { Sources = [source] }));
        Assert.Equal(name, Assert.Single(FilePattern.Expand(source)));
    }

    [Fact]
    public void Ids_run_from_the_first_to_before_the_last() => Assert.Equal(
        ["b8.jsonl", "b9.jsonl", "b10.jsonl"],
        FilePattern.Expand(new DataSource { FileName = "b{file_id}.jsonl", FileIdRange = [8, 11] }));

    [Theory]
    [InlineData("a-{id}.jsonl", "holds '{id}'; only {file_id}")]
    [InlineData("a-{file_id:x}.jsonl", "holds '{file_id:x}'")]
    [InlineData("a-{file_id:05f}.jsonl", "holds '{file_id:05f}'")]
    [InlineData("a-{file_id.jsonl", "unpaired '{'")]
    [InlineData("a-file_id}.jsonl", "unpaired '}'")]
    [InlineData("a.csv", "ending that is not known; supported are .parquet, .jsonl, .jsonl.gz, .json.gz")]
    [InlineData("a.json", "ending that is not known")]
    [InlineData("https://example.org/a.jsonl", "only local files can be read")]
    [InlineData(" ", "is blank")]
    public void Bad_names_are_explained(string name, string expected) =>
        Assert.Contains(expected, Assert.Single(Problems(Good with { Sources = [new() { FileName = name }] })));

    [Fact]
    public void Ranges_must_name_files()
    {
        Assert.Contains("names no file", Range("a{file_id}.jsonl", 3, 3));
        Assert.Contains("names no file", Range("a{file_id}.jsonl", -1, 3));
        Assert.Contains("must hold two numbers", Range("a{file_id}.jsonl", 1));
        Assert.Contains("would read the same file 3 times", Range("a.jsonl", 0, 3));

        static string Range(string name, params ReadOnlySpan<int> range) =>
            Assert.Single(Problems(Good with { Sources = [new() { FileName = name, FileIdRange = [.. range] }] }));
    }

    [Fact]
    public void All_problems_are_reported_at_once()
    {
        var config = new DataConfig
        {
            Sources = [],
            SequenceLength = 0,
            Shards = 0,
            MinTokensPerText = -1,
            MinCharactersPerText = -1,
            ReaderChunkSize = 0,
            DocumentSplitSize = 0,
            Workers = 0,
            PrefetchBatches = 0,
            Mode = (DataMode)9,
            OnBadRecord = (BadRecordPolicy)9,
            PreparedDir = "",
        };
        Assert.Equal(12, Problems(config).Count);
        Assert.Contains("data.shards is 0; it must be at least 1.", Problems(config));
        OpenElmException thrown = Assert.Throws<OpenElmException>(() => new BatchStream(config, ".", new ByteEncoder(), 1));
        Assert.All(Problems(config), problem => Assert.Contains(problem, thrown.Message));
    }

    [Fact]
    public void Defaults_are_the_documented_ones()
    {
        Assert.Empty(Problems(Good));
        Assert.Equal((2048, 2048, 1024, 1), (Good.SequenceLength, Good.DocumentSplitSize, Good.ReaderChunkSize, Good.Shards));
        Assert.Equal((DataMode.Faithful, BadRecordPolicy.Fail), (Good.Mode, Good.OnBadRecord));
        Assert.True(Good.AppendBos && Good.AppendEos && Good.CleanUp && !Good.ShuffleData);
    }
}
