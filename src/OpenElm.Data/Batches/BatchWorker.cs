using System.Collections.Concurrent;
using OpenElm.Data.Readers;

namespace OpenElm.Data.Batches;

/// <summary>What a worker hands over for one batch of one of its shards.</summary>
/// <param name="Batch">The batch, or null if it belongs to another rank and was only made to get past it.</param>
/// <param name="State">The shard's position behind it.</param>
/// <param name="Counted">What was read for it.</param>
/// <param name="Failure">Why there is no batch, in place of everything else.</param>
internal sealed record WorkerBatch(TokenBatch? Batch, ShardPosition State, DataStatistics Counted, Exception? Failure = null);

/// <summary>Makes the batches of some shards in global order, on its own thread, a bounded number ahead.</summary>
internal sealed class BatchWorker : IDisposable
{
    readonly DataContext _context;
    readonly BatchSchedule _schedule;
    readonly int _worker;
    readonly int _microBatch;
    readonly ShardPosition[] _states;
    readonly ShardSequences?[] _open;
    readonly DataCounters _counters = new();
    readonly int[] _rows;
    readonly BlockingCollection<WorkerBatch> _ready;
    readonly CancellationTokenSource _stop = new();
    readonly Thread _thread;

    public BatchWorker(DataContext context, BatchSchedule schedule, int worker, int microBatch, ShardPosition[] states)
    {
        (_context, _schedule, _worker, _microBatch) = (context, schedule, worker, microBatch);
        _states = [.. states];
        _open = new ShardSequences?[states.Length];
        _rows = new int[checked(microBatch * (context.Config.SequenceLength + 1))];
        _ready = new BlockingCollection<WorkerBatch>(context.Config.PrefetchBatches);
        _thread = new Thread(Run) { IsBackground = true, Name = $"data worker {worker}" };
        _thread.Start();
    }

    /// <summary>A batch that is ready now, or null.</summary>
    public WorkerBatch? TryTake() => _ready.TryTake(out WorkerBatch? item) ? item : null;

    /// <summary>Waits for the next batch.</summary>
    public WorkerBatch Take(CancellationToken cancel) => _ready.Take(cancel);

    void Run()
    {
        try
        {
            for (long index = _schedule.Start; ; index++)
            {
                int shard = _schedule.ShardOf(index);
                if (_schedule.WorkerOf(shard) == _worker)
                {
                    _ready.Add(Make(index, shard), _stop.Token);
                }
            }
        }
        catch (OperationCanceledException) when (_stop.IsCancellationRequested)
        {
        }
#pragma warning disable CA1031 // whatever went wrong is thrown again where the batch is asked for
        catch (Exception e)
#pragma warning restore CA1031
        {
            HandOver(e);
        }
    }

    void HandOver(Exception failure)
    {
        try
        {
            _ready.Add(new WorkerBatch(null, default, new DataStatistics(), failure), _stop.Token);
        }
        catch (OperationCanceledException)
        {
        }
    }

    WorkerBatch Make(long index, int shard)
    {
        ShardSequences sequences = _open[shard] ??= ShardSequences.Open(_context, shard, _counters, _states[shard], _stop.Token);
        long earlier = _schedule.BatchesBefore(index, shard);
        if (_states[shard].Batches < earlier)
        {
            while (_states[shard].Batches < earlier) // another rank's work before the resume
            {
                Fill(sequences, shard);
            }

            _counters.Drain();
        }

        string origin = Fill(sequences, shard);
        TokenBatch? batch = _schedule.IsOurs(index) ? TokenBatch.FromRows(_rows, _microBatch, index, origin) : null;
        return new WorkerBatch(batch, _states[shard], _counters.Drain());
    }

    string Fill(ShardSequences sequences, int shard)
    {
        string origin = "";
        int length = _rows.Length / _microBatch;
        for (int row = 0; row < _microBatch; row++)
        {
            _stop.Token.ThrowIfCancellationRequested();
            (var file, long record) = sequences.Next(_rows.AsSpan(row * length, length));
            origin = row == 0 ? DocumentReader.Place(file, record) : origin;
        }

        _states[shard] = sequences.Position with { Batches = _states[shard].Batches + 1 };
        return origin;
    }

    public void Dispose()
    {
        _stop.Cancel();
        _thread.Join();
        foreach (ShardSequences? sequences in _open)
        {
            sequences?.Dispose();
        }

        _ready.Dispose();
        _stop.Dispose();
    }
}
