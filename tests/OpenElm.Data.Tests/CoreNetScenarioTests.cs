namespace OpenElm.Data.Tests;

/// <summary>CoreNet's <c>test_general_lm</c>: one jsonl with 12 texts, one json.gz with 2 nearly empty ones, sequence length 12.</summary>
public sealed class CoreNetScenarioTests
{
    static readonly string[] Names = ["dummy-00000.jsonl", "tiny-00000.json.gz"];

    static (CorpusFolder Folder, DataConfig Config) Scenario()
    {
        var folder = new CorpusFolder();
        folder.Write(Names[0], [.. Enumerable.Range(0, 12).Select(i => $"Text number {i} of the dummy corpus.")]);
        folder.Write(Names[1], "a", "");
        return (folder, new DataConfig
        {
            Sources = [new() { FileName = "dummy-{file_id:05d}.jsonl" }, new() { FileName = "tiny-{file_id:05d}.json.gz" }],
            SequenceLength = 12,
            ReaderChunkSize = 1,
        });
    }

    [Fact]
    public void Samples_are_as_long_as_the_sequence_and_targets_are_shifted_by_one()
    {
        (CorpusFolder folder, DataConfig config) = Scenario();
        using (folder)
        {
            using var stream = new BatchStream(config, folder.Root, new ByteEncoder(), 1);
            for (int i = 0; i < 40; i++)
            {
                TokenBatch sample = stream.Next();
                Assert.Equal(12, sample.Inputs.Length);
                Assert.Equal(12, sample.Targets.Length);
                Assert.Equal(sample.Inputs[1..], sample.Targets[..^1]);
            }
        }
    }

    // CoreNet saves (chunk 10, no file, epoch 0), (chunk 1, behind the jsonl, epoch 0) and (chunk 2, no file, epoch 1).
    [Theory]
    [InlineData(10, 0, 0, 10)]
    [InlineData(13, 0, 1, 1)]
    [InlineData(16, 1, 0, 2)]
    public void State_after_a_sample_is_CoreNets_and_iteration_resumes_from_it(int sample, int epoch, int file, int chunk)
    {
        (CorpusFolder folder, DataConfig config) = Scenario();
        using (folder)
        {
            using var stream = new BatchStream(config, folder.Root, new ByteEncoder(), 1);
            for (int i = 0; i <= sample; i++)
            {
                stream.Next();
            }

            ShardPosition state = stream.Position.Shards[0];
            Assert.Equal((epoch, file, chunk), (state.Epoch, state.File, state.Record / config.ReaderChunkSize));

            using var resumed = new BatchStream(config, folder.Root, new ByteEncoder(), 1, stream.Position);
            for (int i = 0; i < 20; i++)
            {
                (TokenBatch straight, TokenBatch again) = (stream.Next(), resumed.Next());
                Assert.Equal(straight.Inputs, again.Inputs);
                Assert.Equal(straight.Targets, again.Targets);
                Assert.Equal((straight.Index, straight.Origin), (again.Index, again.Origin));
            }
        }
    }
}
