namespace OpenElm.Data.Tests.Preferences;

public sealed class PreferenceStreamTests
{
    const int MicroBatch = 4;

    public static TheoryData<ExampleBatching> Batchings => [ExampleBatching.Padding, ExampleBatching.Grouping];

    [Fact]
    public void Chosen_rows_come_first_and_only_responses_are_targets()
    {
        PreferenceSet set = Set(new([1, 5], [6, 7], [8], "x row 1"), new([1, 9, 10], [11], [12, 13, 14], "x row 2"));
        PreferenceBatch batch = Assert.Single(PreferenceStream.Once(set, 2));

        const int None = TokenBatch.IgnoredTarget;
        Assert.Equal([0, 1], batch.Pairs);
        Assert.Equal((4, 5, "x row 1"), (batch.Sequences.Sequences, batch.Sequences.SequenceLength, batch.Sequences.Origin));
        Assert.Equal([1, 5, 6, 0, 0, 1, 9, 10, 0, 0, 1, 5, 0, 0, 0, 1, 9, 10, 12, 13], batch.Sequences.Inputs);
        Assert.Equal([None, 6, 7, None, None, None, None, 11, None, None, None, 8, None, None, None, None, None, 12, 13, 14], batch.Sequences.Targets);
        Assert.Null(batch.Sequences.Positions);
    }

    [Fact]
    public void Once_keeps_the_order_of_the_files()
    {
        PreferenceBatch[] batches = [.. PreferenceStream.Once(Made(10), MicroBatch)];
        Assert.Equal([[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]], batches.Select(batch => batch.Pairs.ToArray()));
        Assert.Equal([0, 1, 2], batches.Select(batch => batch.Sequences.Index));
    }

    [Theory, MemberData(nameof(Batchings))]
    public void Each_epoch_shows_every_pair_once_in_an_order_of_its_own(ExampleBatching batching)
    {
        PreferenceSet set = Made(101);
        using PreferenceStream stream = Open(set, batching);
        int[] Epoch(PreferenceStream of) => [.. Enumerable.Range(0, 26).SelectMany(_ => of.Next().Pairs)];
        (int[] first, int[] second) = (Epoch(stream), Epoch(stream));

        Assert.Equal((26, 52), (stream.BatchesOf(1), stream.BatchesOf(2)));
        Assert.All([first, second], seen => Assert.Equal(Enumerable.Range(0, 101), seen.Order()));
        Assert.NotEqual(first, second);
        Assert.NotEqual(first, first.Order());
        using PreferenceStream again = Open(set, batching), other = Open(set, batching, seed: 4);
        Assert.Equal(first, Epoch(again));
        Assert.NotEqual(first, Epoch(other));
    }

    [Fact]
    public void The_rows_are_those_of_the_numbered_pairs()
    {
        PreferenceSet set = Made(30);
        using PreferenceStream stream = Open(set, ExampleBatching.Grouping);
        for (int i = 0; i < 20; i++)
        {
            PreferenceBatch batch = stream.Next();
            // Made's pair n begins with 1000 + n, chosen goes on with 2, rejected with 3.
            Assert.Equal([.. batch.Pairs, .. batch.Pairs], Enumerable.Range(0, batch.Sequences.Sequences).Select(row => batch.Sequences.Inputs[row * batch.Sequences.SequenceLength] - 1000));
            Assert.Equal([.. batch.Pairs.Select(_ => 2), .. batch.Pairs.Select(_ => 3)], Enumerable.Range(0, batch.Sequences.Sequences).Select(row => batch.Sequences.Targets[row * batch.Sequences.SequenceLength]));
        }
    }

    [Theory, MemberData(nameof(Batchings))]
    public void A_stream_goes_on_from_any_position_with_the_same_batches(ExampleBatching batching)
    {
        PreferenceSet set = Made(37);
        using PreferenceStream straight = Open(set, batching);
        var positions = new List<string>();
        var batches = new List<PreferenceBatch>();
        for (int i = 0; i < 25; i++)
        {
            positions.Add(straight.Position.ToJson());
            batches.Add(straight.Next());
        }

        Assert.Equal(2, straight.Position.Epoch); // so epochs end on the way
        for (int from = 0; from < positions.Count; from++)
        {
            using PreferenceStream resumed = Open(set, batching, start: ExamplePosition.FromJson(positions[from]));
            foreach (PreferenceBatch expected in batches.Skip(from))
            {
                PreferenceBatch actual = resumed.Next();
                Assert.Equal(expected.Pairs, actual.Pairs);
                Assert.Equal(expected.Sequences.Inputs, actual.Sequences.Inputs);
                Assert.Equal(expected.Sequences.Targets, actual.Sequences.Targets);
            }

            Assert.Equal(straight.Position, resumed.Position);
        }
    }

    [Fact]
    public void A_position_of_other_pairs_or_settings_is_refused()
    {
        using PreferenceStream stream = Open(Made(10), ExampleBatching.Padding);
        Assert.Contains("other examples", Assert.Throws<OpenElmException>(() => Open(Made(11), ExampleBatching.Padding, start: stream.Position)).Message, StringComparison.Ordinal);
        Assert.Contains("batching padding", Assert.Throws<OpenElmException>(() => Open(Made(10), ExampleBatching.Grouping, start: stream.Position)).Message, StringComparison.Ordinal);
        Assert.Contains("seed 3; now", Assert.Throws<OpenElmException>(() => Open(Made(10), ExampleBatching.Padding, seed: 4, start: stream.Position)).Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentOutOfRangeException>(() => Open(Made(10), ExampleBatching.Packing));
    }

    [Fact]
    public void Grouping_pads_little()
    {
        double Padded(ExampleBatching batching)
        {
            using PreferenceStream stream = Open(Made(400), batching);
            PreferenceBatch[] epoch = [.. Enumerable.Range(0, stream.BatchesOf(1)).Select(_ => stream.Next())];
            return epoch.Average(batch => batch.Sequences.Inputs.Count(id => id == 0) / (double)batch.Sequences.Inputs.Length);
        }

        // The longer response of a pair has uniformly 2 to 30 tokens, and padding the shorter one to it cannot be helped.
        Assert.True(Padded(ExampleBatching.Padding) > Padded(ExampleBatching.Grouping) + 0.15);
    }

    static PreferenceStream Open(PreferenceSet set, ExampleBatching batching, int seed = 3, ExamplePosition? start = null) =>
        new(set, PreferenceFolder.Config with { Batching = batching }, MicroBatch, seed, start);

    static PreferenceSet Made(int count)
    {
        var random = new Random(1);
        int[] Response(int id) => [.. Enumerable.Repeat(id, random.Next(2, 31))];
        return Set([.. Enumerable.Range(0, count).Select(i => new PreferencePair([1000 + i], [.. Response(2)], [.. Response(3)], $"x.jsonl row {i + 1}"))]);
    }

    static PreferenceSet Set(params PreferencePair[] pairs) => new([.. pairs], new PreferenceStatistics(pairs.Length, 0, 0, 0, 0, 0));
}
