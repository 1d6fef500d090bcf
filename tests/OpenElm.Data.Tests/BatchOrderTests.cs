using CsCheck;

namespace OpenElm.Data.Tests;

/// <summary>The stream is a pure function of files, configuration, seed and position.</summary>
public sealed class BatchOrderTests
{
    const int Batches = 24;

    static readonly string[] Endings = [".jsonl", ".json.gz", ".jsonl.zst", ".parquet"];

    static readonly Gen<string> Text = Gen.OneOf(
        Gen.Char["ab .,\n"].Array[0, 40].Select(chars => new string(chars)),
        Gen.Char["aé😀🚀 \t–“"].Array[0, 12].Select(chars => new string([.. chars.Where(c => !char.IsSurrogate(c))])));

    static readonly Gen<(DataConfig Config, string[][] Files, int MicroBatch)> Cases =
        from files in Text.Array[1, 7].Array[1, 5]
        from mode in Gen.Enum<DataMode>()
        from shards in Gen.Int[1, 7]
        from length in Gen.Int[1, 14]
        from split in Gen.Int[1, 5]
        from minTokens in Gen.Int[0, 6]
        from minCharacters in Gen.Int[0, 3]
        from shuffle in Gen.Bool
        from seed in Gen.Int[0, 1000]
        from marks in Gen.Int[0, 3]
        from microBatch in Gen.Int[1, 3]
        select (new DataConfig
        {
            Sources = [.. files.Select((_, i) => new DataSource { FileName = $"f{i}{Endings[i % Endings.Length]}" })],
            Mode = mode,
            Shards = shards,
            SequenceLength = length,
            DocumentSplitSize = split,
            MinTokensPerText = minTokens,
            MinCharactersPerText = minCharacters,
            ShuffleData = shuffle,
            RandomSeed = seed,
            AppendBos = (marks & 1) > 0,
            AppendEos = (marks & 2) > 0,
        }, files.Select(texts => (string[])["always long enough text", .. texts]).ToArray(), microBatch);

    static readonly Gen<(int Workers, int World, int Stop, bool Merge, int WorldAfter)[]> Runs =
        Gen.Select(Gen.Int[1, 4], Gen.Int[1, 4], Gen.Int[0, 5], Gen.Bool, Gen.Int[1, 4]).Array[1, 4];

    [Fact]
    public void Any_split_into_runs_workers_and_ranks_gives_the_reference_batches() =>
        Gen.Select(Cases, Runs).Sample((sample, runs) =>
        {
            (DataConfig config, string[][] files, int microBatch) = sample;
            using var folder = new CorpusFolder();
            Dictionary<string, string[]> corpus = [];
            for (int i = 0; i < files.Length; i++)
            {
                string name = config.Sources[i].FileName;
                folder.Write(name, files[i]);
                corpus[name] = files[i];
            }

            int[][][] expected = [.. ReferencePipeline.Batches(config, corpus, folder.Root, microBatch).Take(Batches)];
            DataPosition? position = null;
            long next = 0;
            for (int run = 0; next < Batches; run++)
            {
                (int workers, int world, int stop, bool merge, _) = runs[run % runs.Length];
                int steps = Math.Max(1, stop);
                DataPosition[] positions = new DataPosition[world];
                for (int rank = 0; rank < world; rank++)
                {
                    using var stream = new BatchStream(config with { Workers = workers }, folder.Root, new ByteEncoder(), microBatch, position, new DataSlice(rank, world));
                    for (int step = 0; step < steps; step++)
                    {
                        TokenBatch batch = stream.Next();
                        Assert.Equal(next + (step * world) + rank, batch.Index);
                        if (batch.Index < Batches)
                        {
                            AssertRows(expected[batch.Index], batch);
                        }
                    }

                    positions[rank] = DataPosition.FromJson(stream.Position.ToJson());
                }

                next += steps * world;
                position = merge ? DataPosition.Merge(positions) : positions[^1];
                Assert.Equal(next, position.NextBatch);
            }
        }, iter: 150, threads: 1);

    [Theory]
    [InlineData(DataMode.Faithful)]
    [InlineData(DataMode.Packing)]
    public void Resumes_at_every_position(DataMode mode)
    {
        using var folder = new CorpusFolder();
        Dictionary<string, string[]> corpus = new()
        {
            ["a.jsonl.gz"] = ["one two three four five six seven", "short", "a somewhat longer text than the others, over several sequences of eight"],
            ["b.parquet"] = ["p q r s t u v w x y z", "", "last", "and one more row group here"],
            ["c.txt"] = ["plain text as one document"],
        };
        foreach ((string name, string[] texts) in corpus)
        {
            folder.Write(name, texts);
        }

        var config = new DataConfig
        {
            Sources = [.. corpus.Keys.Select(name => new DataSource { FileName = name })],
            Mode = mode,
            SequenceLength = 8,
            DocumentSplitSize = 3,
            Shards = 2,
            ShuffleData = true,
            RandomSeed = 3,
        };
        const int Count = 60; // several epochs
        int[][][] expected = [.. ReferencePipeline.Batches(config, corpus, folder.Root, 1).Take(Count + 5)];
        using var straight = new BatchStream(config, folder.Root, new ByteEncoder(), 1);
        for (int at = 0; at < Count; at++)
        {
            var position = DataPosition.FromJson(straight.Position.ToJson());
            using var resumed = new BatchStream(config, folder.Root, new ByteEncoder(), 1, position);
            for (int i = at; i < at + 5; i++)
            {
                AssertRows(expected[i], resumed.Next());
            }

            AssertRows(expected[at], straight.Next());
        }
    }

    [Fact]
    public void Prefetched_batches_do_not_move_the_position()
    {
        using var folder = new CorpusFolder();
        folder.Write("a.jsonl", "abcdefgh", "ijklmnop");
        var config = new DataConfig { Sources = [new() { FileName = "a.jsonl" }], SequenceLength = 4, Mode = DataMode.Packing, PrefetchBatches = 5 };
        using var stream = new BatchStream(config, folder.Root, new ByteEncoder(), 1);
        Thread.Sleep(200); // the worker fills its queue
        Assert.Equal(0, stream.Position.NextBatch);
        Assert.Equal(default, stream.Position.Shards[0]);
        Assert.Equal(0, stream.Statistics.Documents);
        stream.Next();
        Assert.Equal(new ShardPosition(1, 0, 0, 0, 4), stream.Position.Shards[0]);
        Assert.Equal(1, stream.Statistics.Documents);
    }

    [Fact]
    public void A_position_of_another_stream_is_refused_with_what_differs()
    {
        using var folder = new CorpusFolder();
        folder.Write("a.jsonl", "abcdefgh", "ijklmnop");
        var config = new DataConfig { Sources = [new() { FileName = "a.jsonl" }], SequenceLength = 4 };
        DataPosition position;
        using (var stream = new BatchStream(config, folder.Root, new ByteEncoder(), 1))
        {
            stream.Next();
            position = stream.Position;
        }

        Assert.Contains("other data settings", Refusal(config with { RandomSeed = 1 }, new ByteEncoder(), 1));
        Assert.Contains("other data settings", Refusal(config, new ByteEncoder(), 2));
        Assert.Contains("another tokenizer", Refusal(config, new ByteEncoder { Fingerprint = "other" }, 1));
        folder.Write("a.jsonl", "abcdefgh", "ijklmnop", "more");
        Assert.Contains("other data files", Refusal(config, new ByteEncoder(), 1));

        string Refusal(DataConfig changed, ByteEncoder encoder, int microBatch) =>
            Assert.Throws<OpenElmException>(() => new BatchStream(changed, folder.Root, encoder, microBatch, position)).Message;
    }

    [Fact]
    public void Workers_prefetch_and_chunks_are_no_part_of_the_fingerprint()
    {
        using var folder = new CorpusFolder();
        folder.Write("a.jsonl", "abcdefgh", "ijklmnop");
        var config = new DataConfig { Sources = [new() { FileName = "a.jsonl" }], SequenceLength = 4 };
        using var first = new BatchStream(config, folder.Root, new ByteEncoder(), 1);
        first.Next();
        var other = config with { Workers = 3, PrefetchBatches = 9, ReaderChunkSize = 7 };
        using var second = new BatchStream(other, folder.Root, new ByteEncoder(), 1, first.Position);
        Assert.Equal(first.Next().Inputs, second.Next().Inputs);
    }

    internal static void AssertRows(int[][] expected, TokenBatch batch)
    {
        Assert.Equal(expected.Length, batch.Sequences);
        Assert.Equal(expected.SelectMany(row => row.SkipLast(1)), batch.Inputs);
        Assert.Equal(expected.SelectMany(row => row.Skip(1)), batch.Targets);
    }
}
