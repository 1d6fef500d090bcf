using System.Numerics;

namespace OpenElm.Data.Batches;

/// <summary>
/// Who makes which batch. Batch b comes from shard b mod shards, whatever the ranks and workers; a rank needs the shards that some
/// batch of its slice comes from, and its workers share these.
/// </summary>
internal sealed class BatchSchedule
{
    readonly int _shards;
    readonly DataSlice _slice;
    readonly int _stride;       // the rank's shards are every _stride-th from _firstShard
    readonly int _firstShard;

    public BatchSchedule(int shards, DataSlice slice, long start, int workers)
    {
        (_shards, _slice, Start) = (shards, slice, start);
        _stride = (int)BigInteger.GreatestCommonDivisor(shards, slice.World);
        _firstShard = (int)((start + slice.Rank) % _stride);
        Workers = Math.Min(workers, shards / _stride);
    }

    /// <summary>The first batch of all ranks together.</summary>
    public long Start { get; }

    /// <summary>Workers that have something to do.</summary>
    public int Workers { get; }

    /// <summary>The shard of a batch.</summary>
    public int ShardOf(long index) => (int)(index % _shards);

    /// <summary>The worker that reads a shard, or -1 if this rank needs nothing of it.</summary>
    public int WorkerOf(int shard) => shard % _stride == _firstShard ? shard / _stride % Workers : -1;

    /// <summary>Whether this rank trains on the batch.</summary>
    public bool IsOurs(long index) => (index - Start) % _slice.World == _slice.Rank;

    /// <summary>Batches that the shard gives before this one.</summary>
    public long BatchesBefore(long index, int shard) => (index - shard) / _shards;
}
