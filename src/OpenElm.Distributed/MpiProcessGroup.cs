using System.Collections.Concurrent;
using System.Diagnostics;

namespace OpenElm.Distributed;

/// <summary>
/// The ranks of a job that <c>mpirun</c> or <c>srun</c> started. One thread owns Open MPI: it makes every call, one exchange after the other, so that
/// exchanges go on while others compute, and the thread can say who is missing when nothing comes.
/// </summary>
public sealed class MpiProcessGroup : IProcessGroup
{
    const int RollCallTag = 4242, QuickPolls = 200;
    const uint PollMicroseconds = 20;
    static readonly TimeSpan RollCall = TimeSpan.FromSeconds(3);

    readonly BlockingCollection<Exchange> _queue = [];
    readonly Thread _thread;
    readonly Action<string> _tell;
    readonly string[] _hosts = [];
    long _number;

    /// <summary>Joins the job; waits for all its ranks.</summary>
    /// <param name="tell">Writes the one line that says why a job ends.</param>
    /// <exception cref="OpenElmException">Open MPI is missing, or does not see the job.</exception>
    public MpiProcessGroup(Action<string> tell)
    {
        _tell = tell;
        _thread = new Thread(Run) { IsBackground = true, Name = "MPI" };
        _thread.Start();
        (int rank, int size) = (0, 0);
        Submit("the start", () =>
        {
            unsafe
            {
                Check(MpiInterface.Init(null, null, MpiInterface.ThreadSerialized, out int provided), "MPI_Init_thread");
                Check(MpiInterface.Rank(MpiInterface.World, out rank), "MPI_Comm_rank");
                Check(MpiInterface.Size(MpiInterface.World, out size), "MPI_Comm_size");
                if (provided < MpiInterface.ThreadSerialized)
                {
                    throw new OpenElmException("This Open MPI was built without threads; install one with MPI_THREAD_SERIALIZED.");
                }
            }

            return null;
        }).Wait();
        (Rank, Size) = (rank, size);
        _hosts = this.AllGather(Environment.MachineName);
        LocalRank = _hosts.Take(Rank).Count(host => host == _hosts[Rank]);
        LocalSize = _hosts.Count(host => host == _hosts[Rank]);
    }

    /// <inheritdoc/>
    public int Rank { get; }

    /// <inheritdoc/>
    public int Size { get; }

    /// <inheritdoc/>
    public int LocalRank { get; }

    /// <inheritdoc/>
    public int LocalSize { get; }

    /// <inheritdoc/>
    public IReadOnlyList<string> Hosts => _hosts;

    /// <inheritdoc/>
    public TimeSpan Patience { get; set; } = TimeSpan.FromMinutes(5);

    /// <inheritdoc/>
    public TimeSpan Exchanging { get; private set; }

    /// <inheritdoc/>
    public IExchange StartAllReduce(nint data, long count) => Submit("a sum over all ranks", () =>
    {
        Check(MpiInterface.AllReduce(MpiInterface.InPlace, data, checked((int)count), MpiInterface.Float, MpiInterface.Sum, MpiInterface.World, out nint request), "MPI_Iallreduce");
        return request;
    });

    /// <inheritdoc/>
    public IExchange StartReduceScatter(nint source, nint target, long count) => Submit("a sum in parts", () =>
    {
        Check(MpiInterface.ReduceScatter(source, target, checked((int)count), MpiInterface.Float, MpiInterface.Sum, MpiInterface.World, out nint request), "MPI_Ireduce_scatter_block");
        return request;
    });

    /// <inheritdoc/>
    public IExchange StartAllGather(nint data, long bytes) => Submit("parts put together", () =>
    {
        int count = checked((int)bytes);
        Check(MpiInterface.AllGather(MpiInterface.InPlace, count, MpiInterface.Byte, data, count, MpiInterface.Byte, MpiInterface.World, out nint request), "MPI_Iallgather");
        return request;
    });

    /// <inheritdoc/>
    public IExchange StartBroadcast(nint data, long bytes, int root) => Submit("a copy to all ranks", () =>
    {
        Check(MpiInterface.Broadcast(data, checked((int)bytes), MpiInterface.Byte, root, MpiInterface.World, out nint request), "MPI_Ibcast");
        return request;
    });

    /// <inheritdoc/>
    public IDeviceCollectives? OpenDevice(int device, out string? reason) => NcclCollectives.Open(this, device, out reason);

    /// <inheritdoc/>
    public void Abort(int exitCode)
    {
        // From whichever thread: nothing is waited for any more.
        _ = MpiInterface.Abort(MpiInterface.World, exitCode);
        Environment.Exit(exitCode);
    }

    /// <summary>Leaves the job; waits for all its ranks.</summary>
    public void Dispose()
    {
        Submit("the end", () =>
        {
            Check(MpiInterface.Finish(), "MPI_Finalize");
            return null;
        }).Wait();
        _queue.CompleteAdding();
        _thread.Join();
        _queue.Dispose();
    }

    Exchange Submit(string name, Func<nint?> start)
    {
        var exchange = new Exchange(name, _number++, Patience, start);
        _queue.Add(exchange);
        return exchange;
    }

    void Run()
    {
        foreach (Exchange exchange in _queue.GetConsumingEnumerable())
        {
            long begin = Stopwatch.GetTimestamp();
#pragma warning disable CA1031 // whatever went wrong is thrown again where the exchange is waited for
            try
            {
                if (exchange.Start() is { } request)
                {
                    WaitFor(exchange, request);
                }

                exchange.Finish(null);
            }
            catch (Exception e)
            {
                exchange.Finish(e);
            }
#pragma warning restore CA1031
            Exchanging += Stopwatch.GetElapsedTime(begin);
        }
    }

    void WaitFor(Exchange exchange, nint request)
    {
        long begin = Stopwatch.GetTimestamp();
        for (int polls = 0; !IsDone(ref request); polls++)
        {
            Pause(polls);
            if (exchange.Patience != Timeout.InfiniteTimeSpan && Stopwatch.GetElapsedTime(begin) > exchange.Patience)
            {
                EndJob(exchange);
            }
        }
    }

    // All ranks that still work run out of patience at about the same time and answer each other; the others are those that are missing.
    unsafe void EndJob(Exchange exchange)
    {
        byte[] answers = new byte[Size];
        nint[] requests = new nint[Size];
        byte present = 1;
        fixed (byte* answer = answers)
        {
            for (int rank = 0; rank < Size; rank++)
            {
                if (rank != Rank)
                {
                    Check(MpiInterface.Receive(answer + rank, 1, MpiInterface.Byte, rank, RollCallTag, MpiInterface.World, out requests[rank]), "MPI_Irecv");
                    Check(MpiInterface.Send(&present, 1, MpiInterface.Byte, rank, RollCallTag, MpiInterface.World, out _), "MPI_Isend");
                }
            }

            long begin = Stopwatch.GetTimestamp();
            for (int polls = 0; Stopwatch.GetElapsedTime(begin) < RollCall; polls++)
            {
                for (int rank = 0; rank < Size; rank++)
                {
                    _ = rank == Rank || IsDone(ref requests[rank]);
                }

                Pause(polls);
            }
        }

        int[] missing = [.. Enumerable.Range(0, Size).Where(rank => rank != Rank && Volatile.Read(ref answers[rank]) == 0)];
        int first = Enumerable.Range(0, Size).First(rank => rank == Rank || answers[rank] != 0);
        if (Rank == first)
        {
            string who = missing is [] ? "some rank" : string.Join(", ", missing.Select(rank => $"rank {rank} on {_hosts[rank]}"));
            _tell($"{who} has not answered for {exchange.Patience.TotalSeconds:0} s (exchange {exchange.Number}, {exchange.Name}); the job is ended, and its last good checkpoint stands.");
            Abort(ExitCode);
        }

        Thread.Sleep(RollCall); // the first tells and ends the job
        Abort(ExitCode);
    }

    /// <summary>Exit code of a job that some rank left.</summary>
    public const int ExitCode = 3;

    static bool IsDone(ref nint request)
    {
        Check(MpiInterface.Test(ref request, out int done, 0), "MPI_Test");
        return done != 0;
    }

    // Short waits are over at once; longer ones leave the core to those who compute.
    static void Pause(int polls)
    {
        if (polls < QuickPolls)
        {
            Thread.Yield();
        }
        else
        {
            _ = MpiInterface.Sleep(PollMicroseconds);
        }
    }

    static void Check(int status, string call)
    {
        if (status != 0)
        {
            throw new InvalidOperationException($"{call} failed with {status}; Open MPI has written the reason to standard error.");
        }
    }

    sealed class Exchange(string name, long number, TimeSpan patience, Func<nint?> start) : IExchange
    {
        readonly TaskCompletionSource _done = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public string Name => name;

        public long Number => number;

        public TimeSpan Patience => patience;

        public nint? Start() => start();

        public void Finish(Exception? failure)
        {
            if (failure is null)
            {
                _done.SetResult();
            }
            else
            {
                _done.SetException(failure);
            }
        }

        public void Wait() => _done.Task.GetAwaiter().GetResult();
    }
}
