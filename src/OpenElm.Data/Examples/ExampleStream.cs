using OpenElm.Data.Examples;

namespace OpenElm.Data;

/// <summary>
/// The endless batches of supervised tuning: epoch after epoch, each in an order of its own that files, settings and seed define.
/// Everything is in memory, so nothing is waited for.
/// </summary>
public sealed class ExampleStream : IBatchSource<TokenBatch>
{
    readonly ExampleSet _set;
    readonly ExampleOrder _order;
    readonly string _fingerprint;
    readonly string _settings;
    int[][][] _batches;
    int _epoch;
    int _next;
    long _handedOut;

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
        _order = new ExampleOrder([.. set.Examples.Select(example => example.Positions)], config.Batching, sequenceLength, microBatch, config.Shuffle ? seed : null);
        _fingerprint = set.Fingerprint();
        _settings = $"batching {config.Batching}, sequence length {sequenceLength}, micro batch {microBatch}, {(config.Shuffle ? $"shuffled with seed {seed}" : "not shuffled")}".ToLowerInvariant();
        start?.CheckedAgainst(_fingerprint, _settings);
        (_epoch, _next) = (start?.Epoch ?? 0, start?.Batch ?? 0);
        _batches = _order.Batches(_epoch);
    }

    /// <summary>Where the next batch begins.</summary>
    public ExamplePosition Position => new(_epoch, _next, _fingerprint, _settings);

    IDataPosition IBatchSource<TokenBatch>.Position => Position;

    /// <inheritdoc/>
    public TimeSpan Waited => TimeSpan.Zero;

    /// <summary>Counts the batches of some epochs.</summary>
    /// <param name="epochs">How many, from the first.</param>
    /// <returns>Batches.</returns>
    public int BatchesOf(int epochs) => Enumerable.Range(0, epochs).Sum(epoch => _order.Batches(epoch).Length);

    /// <inheritdoc/>
    public TokenBatch Next(CancellationToken cancel = default)
    {
        cancel.ThrowIfCancellationRequested();
        if (_next == _batches.Length)
        {
            (_epoch, _next) = (_epoch + 1, 0);
            _batches = _order.Batches(_epoch);
        }

        return ExampleBatch.Of([.. _batches[_next++].Select(row => row.Select(example => _set.Examples[example]).ToArray())], _handedOut++);
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
