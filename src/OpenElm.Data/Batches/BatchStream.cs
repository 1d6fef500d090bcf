using System.Collections.Immutable;
using System.Diagnostics;
using System.Runtime.ExceptionServices;
using OpenElm.Data.Batches;
using OpenElm.Data.Files;
using OpenElm.Data.Prepared;
using OpenElm.Data.Sharding;
using OpenElm.Data.Texts;
using OpenElm.Tokenization;

namespace OpenElm.Data;

/// <summary>
/// The endless batches of a run, in the one global order that files, configuration, tokenizer and batch size define: batch b is
/// the next <c>microBatch</c> sequences of logical shard b mod shards. Ranks take slices of that order and background workers
/// make it; neither changes it. For one consumer; not thread-safe.
/// </summary>
public sealed class BatchStream : IBatchSource<TokenBatch>
{
    readonly BatchSchedule _schedule;
    readonly DataFingerprint _fingerprint;
    readonly DataSlice _slice;
    readonly ShardPosition[] _states;
    readonly BatchWorker[] _workers;
    readonly Stopwatch _waited = new();
    long _index;        // next batch of the global order to look at
    long _handedOut;    // ours
    DataStatistics _counted = new();
    ExceptionDispatchInfo? _failure;

    /// <summary>Opens the stream; its files are checked at once, and workers begin to read.</summary>
    /// <param name="config">What to read and how.</param>
    /// <param name="baseDirectory">The folder that relative file names start from.</param>
    /// <param name="tokenizer">Turns texts into tokens.</param>
    /// <param name="microBatch">Sequences of a batch.</param>
    /// <param name="start">Where to go on; null begins at batch 0.</param>
    /// <param name="slice">This rank's part; null is everything.</param>
    /// <param name="onWarning">Told about every record that is skipped; called from the workers' threads.</param>
    /// <exception cref="OpenElmException">Values that cannot be, missing files, or a position of another stream.</exception>
    public BatchStream(DataConfig config, string baseDirectory, SentencePieceTokenizer tokenizer, int microBatch,
        DataPosition? start = null, DataSlice? slice = null, Action<string>? onWarning = null)
        : this(config, baseDirectory, new SentencePieceEncoder(tokenizer), microBatch, start, slice, onWarning)
    {
    }

    /// <summary>Opens a stream over what the pipeline asks of a tokenizer.</summary>
    internal BatchStream(DataConfig config, string baseDirectory, ITextEncoder encoder, int microBatch,
        DataPosition? start = null, DataSlice? slice = null, Action<string>? onWarning = null)
    {
        config = config.Checked();
        _slice = slice ?? DataSlice.Whole;
        ArgumentOutOfRangeException.ThrowIfLessThan(microBatch, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(_slice.World, 1, nameof(slice));
        ArgumentOutOfRangeException.ThrowIfNegative(_slice.Rank, nameof(slice));
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(_slice.Rank, _slice.World, nameof(slice));

        (ImmutableArray<DataFile> files, OpenTexts open) = Corpus(config, baseDirectory, encoder, onWarning);
        _fingerprint = DataFingerprint.Of(config, files, encoder, microBatch);
        start = start?.CheckedAgainst(_fingerprint, config.Shards);
        _states = start is null ? new ShardPosition[config.Shards] : [.. start.Shards];
        _index = start?.NextBatch ?? 0;
        _schedule = new BatchSchedule(config.Shards, _slice, _index, config.Workers);
        var context = new DataContext(config, new ShardFiles(files, config), encoder.PadId, open);
        _workers = [.. Enumerable.Range(0, _schedule.Workers).Select(worker => new BatchWorker(context, _schedule, worker, microBatch, _states))];
    }

    /// <summary>The files of a stream and how their texts are had: read, or prepared before.</summary>
    internal static (ImmutableArray<DataFile> Files, OpenTexts Open) Corpus(DataConfig config, string baseDirectory, ITextEncoder encoder, Action<string>? onWarning)
    {
        if (config.PreparedDir is { } directory)
        {
            var folder = new PreparedFolder(Path.GetFullPath(directory, Path.GetFullPath(baseDirectory)), config, baseDirectory, encoder);
            return (folder.Files, (file, counters, record, group, _) => new PreparedTexts(folder, file, counters, record, group));
        }

        return (DataFile.Expand(config, baseDirectory, LocalFiles.Instance), (file, counters, record, group, cancel) =>
            new LiveTexts(file, LocalFiles.Instance, config, encoder, counters, onWarning, cancel, record, group));
    }

    /// <summary>Where the stream goes on behind the batches handed out so far; prefetched ones do not count.</summary>
    public DataPosition Position => new()
    {
        NextBatch = _schedule.Start + (_handedOut * _slice.World),
        Fingerprint = _fingerprint,
        Shards = [.. _states],
    };

    IDataPosition IBatchSource<TokenBatch>.Position => Position;

    /// <inheritdoc/>
    public TimeSpan Waited => _waited.Elapsed;

    /// <summary>What was read and what became of it, up to the last batch handed out.</summary>
    public DataStatistics Statistics => _counted with { Batches = _handedOut, Waited = Waited };

    /// <summary>The next batch of this rank.</summary>
    /// <param name="cancel">Ends the wait for it.</param>
    /// <returns>The batch.</returns>
    /// <exception cref="OpenElmException">A file or record cannot be read, or nothing passes the filters.</exception>
    public TokenBatch Next(CancellationToken cancel = default)
    {
        _failure?.Throw();
        while (true)
        {
            cancel.ThrowIfCancellationRequested();
            int shard = _schedule.ShardOf(_index);
            int worker = _schedule.WorkerOf(shard);
            if (worker < 0)
            {
                _index++;
                continue;
            }

            WorkerBatch item = Take(_workers[worker], cancel);
            if (item.Failure is { } failure)
            {
                _failure = ExceptionDispatchInfo.Capture(failure);
                _failure.Throw();
            }

            _index++;
            _states[shard] = item.State;
            _counted = _counted.Plus(item.Counted);
            if (item.Batch is { } batch)
            {
                _handedOut++;
                return batch;
            }
        }
    }

    WorkerBatch Take(BatchWorker worker, CancellationToken cancel)
    {
        if (worker.TryTake() is { } ready)
        {
            return ready;
        }

        _waited.Start();
        try
        {
            return worker.Take(cancel);
        }
        finally
        {
            _waited.Stop();
        }
    }

    /// <summary>Stops the workers and closes the files.</summary>
    public void Dispose()
    {
        foreach (BatchWorker worker in _workers)
        {
            worker.Dispose();
        }
    }
}
