using OpenElm.Data.Files;

namespace OpenElm.Data.Batches;

/// <summary>Arranges one shard's texts as sequences of sequenceLength + 1 tokens.</summary>
internal abstract class ShardSequences(ShardTexts texts, DataCounters counters) : IDisposable
{
    /// <summary>The texts that are arranged.</summary>
    protected ShardTexts Texts { get; } = texts;

    /// <summary>Counts what is kept, padded and dropped.</summary>
    protected DataCounters Counters { get; } = counters;

    /// <summary>Where the next sequence begins; <see cref="ShardPosition.Batches"/> is the caller's.</summary>
    public ShardPosition Position { get; protected set; }

    /// <summary>Fills <paramref name="row"/> [sequenceLength + 1] with the next sequence and says where it began.</summary>
    public abstract (DataFile File, long Record) Next(Span<int> row);

    public static ShardSequences Open(DataContext context, int shard, DataCounters counters, ShardPosition start, CancellationToken cancel = default)
    {
        var texts = new ShardTexts(context, shard, counters, start, cancel);
        return context.Config.Mode == DataMode.Faithful
            ? new FaithfulSequences(texts, counters, context.PadId, start)
            : new PackedSequences(texts, counters, start);
    }

    public void Dispose() => Texts.Dispose();
}
