namespace OpenElm.Data.Tests.Examples;

public sealed class ExampleStreamTests
{
    const int MicroBatch = 4, RowLength = 40;

    public static TheoryData<ExampleBatching> AllBatchings => [.. Enum.GetValues<ExampleBatching>()];

    [Theory, MemberData(nameof(AllBatchings))]
    public void Each_epoch_shows_every_example_once_in_an_order_of_its_own(ExampleBatching batching)
    {
        ExampleSet set = Made(101);
        using ExampleStream stream = Open(set, batching);
        var epochs = Enumerable.Range(0, 2).Select(epoch => Enumerable.Range(0, stream.BatchesOf(epoch + 1) - stream.BatchesOf(epoch)).SelectMany(_ => ExamplesIn(stream.Next())).ToList()).ToList();

        Assert.All(epochs, seen => Assert.Equal(Enumerable.Range(0, 101), seen.Order()));
        Assert.NotEqual(epochs[0], epochs[1]);
        using ExampleStream again = Open(set, batching);
        Assert.Equal(epochs[0], Enumerable.Range(0, again.BatchesOf(1)).SelectMany(_ => ExamplesIn(again.Next())));
    }

    [Theory, MemberData(nameof(AllBatchings))]
    public void A_stream_goes_on_from_a_saved_position_with_the_same_batches(ExampleBatching batching)
    {
        ExampleSet set = Made(37);
        using ExampleStream straight = Open(set, batching);
        for (int i = 0; i < 13; i++)
        {
            straight.Next();
        }

        using ExampleStream resumed = Open(set, batching, ExamplePosition.FromJson(straight.Position.ToJson()));
        for (int i = 0; i < 25; i++)
        {
            (TokenBatch expected, TokenBatch actual) = (straight.Next(), resumed.Next());
            Assert.Equal(expected.Inputs, actual.Inputs);
            Assert.Equal(expected.Targets, actual.Targets);
            Assert.Equal(expected.Positions ?? [], actual.Positions ?? []);
        }

        Assert.Equal(straight.Position, resumed.Position);
        Assert.True(straight.Position.Epoch > 0);
    }

    [Fact]
    public void A_position_of_other_examples_or_settings_is_refused()
    {
        using ExampleStream stream = Open(Made(10), ExampleBatching.Padding);
        Assert.Contains("other examples", Assert.Throws<OpenElmException>(() => Open(Made(11), ExampleBatching.Padding, stream.Position)).Message, StringComparison.Ordinal);
        Assert.Contains("batching padding", Assert.Throws<OpenElmException>(() => Open(Made(10), ExampleBatching.Packing, stream.Position)).Message, StringComparison.Ordinal);
        Assert.Contains("damaged", Assert.Throws<OpenElmException>(() => ExamplePosition.FromJson((stream.Position with { Batch = -1 }).ToJson())).Message, StringComparison.Ordinal);
        Assert.Throws<OpenElmException>(() => ExamplePosition.FromJson("{}"));
    }

    [Fact]
    public void Padding_stands_behind_the_examples_and_is_no_target()
    {
        ExampleSet set = Set([5, 6, 7], [8, 9, 10, 11, 12]);
        using var stream = new ExampleStream(set, new ExampleConfig { Files = ["x.jsonl"], Shuffle = false }, RowLength, 2, seed: 0);
        TokenBatch batch = stream.Next();

        Assert.Equal([5, 6, 0, 0, 8, 9, 10, 11], batch.Inputs);
        Assert.Equal([6, 7, TokenBatch.IgnoredTarget, TokenBatch.IgnoredTarget, 9, 10, 11, 12], batch.Targets);
        Assert.Null(batch.Positions);
    }

    [Fact]
    public void Packed_examples_restart_their_positions_and_predict_nothing_across_a_border()
    {
        ExampleSet set = Set([5, 6, 7], [8, 9, 10, 11], [12, 13]);
        using var stream = new ExampleStream(set, new ExampleConfig { Files = ["x.jsonl"], Shuffle = false, Batching = ExampleBatching.Packing }, sequenceLength: 5, 2, seed: 0);
        TokenBatch batch = stream.Next();

        Assert.Equal([5, 6, 8, 9, 10, 12, 0, 0, 0, 0], batch.Inputs);
        Assert.Equal([6, 7, 9, 10, 11, 13, -100, -100, -100, -100], batch.Targets);
        Assert.Equal([0, 1, 0, 1, 2, 0, 0, 1, 2, 3], batch.Positions!);
    }

    [Fact]
    public void What_the_loss_must_not_see_is_no_target()
    {
        var example = new TokenizedExample([1, 2, 3, 4], [true, false, true, false], "a row 1");
        using var stream = new ExampleStream(new ExampleSet([example], new ExampleStatistics(1, 0, 0, 0)), new ExampleConfig { Files = ["x.jsonl"] }, RowLength, 1, seed: 0);
        Assert.Equal([-100, 3, -100], stream.Next().Targets);
        Assert.Equal(1, example.Targets);
    }

    [Fact]
    public void Grouping_and_packing_pad_little()
    {
        double Padded(ExampleBatching batching)
        {
            using ExampleStream stream = Open(Made(400), batching);
            TokenBatch[] epoch = [.. Enumerable.Range(0, stream.BatchesOf(1)).Select(_ => stream.Next())];
            Assert.All(epoch, batch => Assert.True(batch.SequenceLength <= RowLength));
            return epoch.Sum(batch => batch.Targets.Count(target => target == TokenBatch.IgnoredTarget)) / (double)epoch.Sum(batch => batch.Targets.Length);
        }

        // Lengths are uniform in 2..30: padding four of them to the longest wastes about a third.
        Assert.True(Padded(ExampleBatching.Padding) > 0.25);
        Assert.True(Padded(ExampleBatching.Grouping) < 0.03);
        Assert.True(Padded(ExampleBatching.Packing) < 0.05);
    }

    static ExampleStream Open(ExampleSet set, ExampleBatching batching, ExamplePosition? start = null) =>
        new(set, new ExampleConfig { Files = ["x.jsonl"], Batching = batching }, RowLength, MicroBatch, seed: 3, start);

    // Example i begins with the id 1000 + i and goes on with 1s.
    static ExampleSet Made(int count)
    {
        var random = new Random(1);
        return Set([.. Enumerable.Range(0, count).Select(i => new[] { 1000 + i }.Concat(Enumerable.Repeat(1, random.Next(2, 31))).ToArray())]);
    }

    static ExampleSet Set(params int[][] examples) => new(
        [.. examples.Select((ids, i) => new TokenizedExample([.. ids], [.. Enumerable.Repeat(true, ids.Length)], $"x.jsonl row {i + 1}"))],
        new ExampleStatistics(examples.Length, 0, 0, 0));

    static IEnumerable<int> ExamplesIn(TokenBatch batch) => batch.Inputs.Where(id => id >= 1000).Select(id => id - 1000);
}
