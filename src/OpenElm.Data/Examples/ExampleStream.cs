using OpenElm.Data.Examples;

namespace OpenElm.Data;

/// <summary>
/// The endless batches of supervised tuning: epoch after epoch, each in an order of its own that files, settings and seed define.
/// Everything is in memory, so nothing is waited for.
/// </summary>
public sealed class ExampleStream : IBatchSource<TokenBatch>
{
    readonly ExampleSet _set;
    readonly ExampleCursor _cursor;

    /// <summary>Opens the stream.</summary>
    /// <param name="set">The examples.</param>
    /// <param name="config">How they become batches.</param>
    /// <param name="sequenceLength">Positions of a packed sequence.</param>
    /// <param name="microBatch">Sequences of a batch; the last batch of an epoch may have fewer.</param>
    /// <param name="seed">Seed of the shuffles.</param>
    /// <param name="start">Where to go on; null begins anew.</param>
    /// <exception cref="OpenElmException">The position belongs to another stream.</exception>
    public ExampleStream(ExampleSet set, ExampleConfig config, int sequenceLength, int microBatch, int seed, ExamplePosition? start = null)
    {
        ArgumentNullException.ThrowIfNull(set);
        ArgumentNullException.ThrowIfNull(config);
        ArgumentOutOfRangeException.ThrowIfLessThan(microBatch, 1);
        _set = set;
        var order = new ExampleOrder([.. set.Examples.Select(example => example.Positions)], config.Batching, sequenceLength, microBatch, config.Shuffle ? seed : null);
        _cursor = new ExampleCursor(order, set.Fingerprint(), order.Settings, start);
    }

    /// <summary>Where the next batch begins.</summary>
    public ExamplePosition Position => _cursor.Position;

    IDataPosition IBatchSource<TokenBatch>.Position => Position;

    /// <inheritdoc/>
    public TimeSpan Waited => TimeSpan.Zero;

    /// <summary>Counts the batches of some epochs.</summary>
    /// <param name="epochs">How many, from the first.</param>
    /// <returns>Batches.</returns>
    public int BatchesOf(int epochs) => _cursor.BatchesOf(epochs);

    /// <inheritdoc/>
    public TokenBatch Next(CancellationToken cancel = default)
    {
        cancel.ThrowIfCancellationRequested();
        (int[][] rows, long index) = _cursor.Next();
        return ExampleBatch.Of([.. rows.Select(row => row.Select(example => _set.Examples[example]).ToArray())], index);
    }

    /// <summary>The examples once, in the order of the files, one a sequence: what validation scores.</summary>
    /// <param name="set">The examples.</param>
    /// <param name="microBatch">Sequences of a batch.</param>
    /// <returns>The batches.</returns>
    public static IEnumerable<TokenBatch> Once(ExampleSet set, int microBatch)
    {
        ArgumentNullException.ThrowIfNull(set);
        return set.Examples.Select(example => new[] { example }).Chunk(microBatch).Select((rows, index) => ExampleBatch.Of(rows, index));
    }

    /// <inheritdoc/>
    public void Dispose()
    {
    }
}
