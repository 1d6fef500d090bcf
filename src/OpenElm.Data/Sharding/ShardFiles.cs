using System.Collections.Immutable;
using OpenElm.Data.Files;

namespace OpenElm.Data.Sharding;

/// <summary>
/// Deals files to logical shards as CoreNet deals them to ranks × workers: shuffle once, pad with files drawn with
/// replacement until every shard has equally many, then every shards-th file.
/// </summary>
internal sealed class ShardFiles
{
    // Names of the random streams; a shard's epoch has the stream (shard, epoch).
    const long DealingStream = -1;

    readonly ImmutableArray<DataFile> _dealt;
    readonly DataConfig _config;

    public ShardFiles(ImmutableArray<DataFile> files, DataConfig config)
    {
        _config = config;
        var random = new StableRandom(config.RandomSeed, DealingStream);
        DataFile[] order = [.. files];
        if (config.ShuffleData)
        {
            random.Shuffle(order.AsSpan());
        }

        int missing = (config.Shards - (order.Length % config.Shards)) % config.Shards;
        var dealt = ImmutableArray.CreateBuilder<DataFile>(order.Length + missing);
        dealt.AddRange(order);
        for (int i = 0; i < missing; i++)
        {
            dealt.Add(order[random.Below(order.Length)]);
        }

        _dealt = dealt.MoveToImmutable();
    }

    /// <summary>The shard's files in the order of an epoch: as dealt in epoch 0, freshly shuffled in every later one.</summary>
    public DataFile[] InEpoch(int shard, long epoch)
    {
        var files = new DataFile[_dealt.Length / _config.Shards];
        for (int i = 0; i < files.Length; i++)
        {
            files[i] = _dealt[shard + (i * _config.Shards)];
        }

        if (_config.ShuffleData && epoch > 0)
        {
            new StableRandom(_config.RandomSeed, shard, epoch).Shuffle(files.AsSpan());
        }

        return files;
    }
}
