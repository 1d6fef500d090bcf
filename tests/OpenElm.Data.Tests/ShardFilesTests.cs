using System.Collections.Immutable;
using OpenElm.Data.Files;
using OpenElm.Data.Sharding;

namespace OpenElm.Data.Tests;

/// <summary>Files are dealt to shards as CoreNet deals them to ranks × workers.</summary>
public sealed class ShardFilesTests
{
    static ImmutableArray<DataFile> Files(int count) => [.. Enumerable.Range(0, count).Select(i => new DataFile(i, $"{i}", $"{i}", "text", 1))];

    static DataConfig Config(int shards, bool shuffle = false, int seed = 0) =>
        new() { Sources = [new() { FileName = "x.jsonl" }], Shards = shards, ShuffleData = shuffle, RandomSeed = seed };

    static int[] Dealt(ShardFiles shards, int shard, long epoch = 0) => [.. shards.InEpoch(shard, epoch).Select(file => file.Index)];

    [Fact]
    public void Without_shuffle_a_shard_takes_every_nth_file_in_every_epoch()
    {
        var shards = new ShardFiles(Files(6), Config(3));
        Assert.Equal([1, 4], Dealt(shards, 1));
        Assert.Equal([1, 4], Dealt(shards, 1, epoch: 5));
    }

    [Theory]
    [InlineData(7, 3)]
    [InlineData(2, 5)]
    [InlineData(1, 512)]
    [InlineData(9, 9)]
    public void Every_shard_gets_as_many_files_and_every_file_is_dealt(int files, int count)
    {
        var shards = new ShardFiles(Files(files), Config(count, shuffle: true));
        int each = (files + count - 1) / count;
        int[] all = [.. Enumerable.Range(0, count).SelectMany(shard => Dealt(shards, shard))];
        Assert.Equal(each * count, all.Length);
        Assert.Equal(files, all.Distinct().Count());
        Assert.All(Enumerable.Range(0, count), shard => Assert.Equal(each, Dealt(shards, shard).Length));
    }

    [Fact]
    public void Epochs_shuffle_a_shards_own_files()
    {
        var shards = new ShardFiles(Files(40), Config(2, shuffle: true, seed: 5));
        int[] first = Dealt(shards, 0);
        Assert.NotEqual(first, Dealt(shards, 0, 1));
        Assert.NotEqual(Dealt(shards, 0, 1), Dealt(shards, 0, 2));
        Assert.Equal(first.Order(), Dealt(shards, 0, 1).Order());
        Assert.NotEqual(first, Dealt(new ShardFiles(Files(40), Config(2, shuffle: true, seed: 6)), 0));
    }

    // The reference outputs of xoshiro256** from state 1, 2, 3, 4 and of SplitMix64 from 1234567, as the authors' C code gives.
    [Fact]
    public void Random_numbers_are_xoshiro256_starstar()
    {
        var random = new StableRandom(1UL, 2, 3, 4);
        ulong[] expected =
        [
            11520, 0, 1509978240, 1215971899390074240, 1216172134540287360, 607988272756665600,
            16172922978634559625, 8476171486693032832, 10595114339597558777, 2904607092377533576,
        ];
        Assert.Equal(expected, expected.Select(_ => random.Next()));

        ulong state = 1234567;
        ulong[] mixed = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821];
        Assert.Equal(mixed, mixed.Select(_ => StableRandom.Mix(ref state)));
    }

    [Fact]
    public void Draws_and_shuffles_are_uniform()
    {
        var random = new StableRandom(1, 2);
        int[] counts = new int[6];
        for (int i = 0; i < 60_000; i++)
        {
            int[] values = [0, 1, 2];
            random.Shuffle(values.AsSpan());
            counts[(values[0] * 2) + (values[1] > values[2] ? 1 : 0)]++;
        }

        // 10,000 expected each, standard deviation 91; five of them.
        Assert.All(counts, count => Assert.InRange(count, 9_540, 10_460));
    }
}
