using OpenElm.Data.Examples;

namespace OpenElm.Data;

/// <summary>
/// The endless batches of preference tuning: epoch after epoch, each in an order of its own that pairs, settings and seed define. The reference (openelm.md
/// 7.3) shuffles the data once, and its trainer draws another order for each epoch; here the one draw for each epoch does both.
/// </summary>
public sealed class PreferenceStream : IBatchSource<PreferenceBatch>
{
    readonly PreferenceSet _set;
    readonly ExampleCursor _cursor;

    /// <summary>Opens the stream.</summary>
    /// <param name="set">The pairs.</param>
    /// <param name="config">How they become batches.</param>
    /// <param name="microBatch">Pairs of a batch; the last batch of an epoch may have fewer.</param>
    /// <param name="seed">Seed of the shuffles.</param>
    /// <param name="start">Where to go on; null begins anew.</param>
    /// <exception cref="OpenElmException">The position belongs to another stream.</exception>
    public PreferenceStream(PreferenceSet set, PreferenceConfig config, int microBatch, int seed, ExamplePosition? start = null)
    {
        ArgumentNullException.ThrowIfNull(set);
        ArgumentNullException.ThrowIfNull(config);
        ArgumentOutOfRangeException.ThrowIfLessThan(microBatch, 1);
        ArgumentOutOfRangeException.ThrowIfEqual((int)config.Batching, (int)ExampleBatching.Packing, nameof(config));
        _set = set;
        var order = new ExampleOrder([.. set.Pairs.Select(pair => pair.Positions)], config.Batching, rowLength: 0, microBatch, config.Shuffle ? seed : null);
        _cursor = new ExampleCursor(order, set.Fingerprint(), $"pairs, {order.Settings}", start);
    }

    /// <summary>Where the next batch begins.</summary>
    public ExamplePosition Position => _cursor.Position;

    IDataPosition IBatchSource<PreferenceBatch>.Position => Position;

    /// <inheritdoc/>
    public TimeSpan Waited => TimeSpan.Zero;

    /// <summary>Counts the batches of some epochs.</summary>
    /// <param name="epochs">How many, from the first.</param>
    /// <returns>Batches.</returns>
    public int BatchesOf(int epochs) => _cursor.BatchesOf(epochs);

    /// <inheritdoc/>
    public PreferenceBatch Next(CancellationToken cancel = default)
    {
        cancel.ThrowIfCancellationRequested();
        (int[][] rows, long index) = _cursor.Next();
        return PreferenceBatch.Of(_set, [.. rows.SelectMany(row => row)], index);
    }

    /// <summary>The pairs once, in the order of the files: what validation and the reference's log-probabilities look at.</summary>
    /// <param name="set">The pairs.</param>
    /// <param name="microBatch">Pairs of a batch.</param>
    /// <returns>The batches.</returns>
    public static IEnumerable<PreferenceBatch> Once(PreferenceSet set, int microBatch)
    {
        ArgumentNullException.ThrowIfNull(set);
        ArgumentOutOfRangeException.ThrowIfLessThan(microBatch, 1);
        return Enumerable.Range(0, set.Pairs.Length).Chunk(microBatch).Select((numbers, index) => PreferenceBatch.Of(set, [.. numbers], index));
    }

    /// <inheritdoc/>
    public void Dispose()
    {
    }
}
