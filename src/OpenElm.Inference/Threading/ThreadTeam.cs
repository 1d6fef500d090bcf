using System.Diagnostics;

namespace OpenElm.Inference.Threading;

/// <summary>Work that several threads do together, each a part of every step.</summary>
internal abstract class SplitJob
{
    /// <summary>Does one part of all steps; runs on any thread.</summary>
    /// <param name="part">From 0.</param>
    /// <param name="parts">The number of parts.</param>
    /// <param name="barrier">Where the parts meet between steps.</param>
    public abstract void Run(int part, int parts, SpinBarrier barrier);
}

/// <summary>
/// A few threads that wait for jobs and share each of them. Nothing is allocated per job. Between two jobs a thread spins for a
/// moment before it sleeps: the next token usually follows at once.
/// </summary>
internal sealed class ThreadTeam : IDisposable
{
    static readonly long SpinTicks = Stopwatch.Frequency / 2000; // half a millisecond

    readonly Worker[] _workers;
    readonly Lock _oneJobAtATime = new();
    readonly SpinBarrier _barrier, _alone = new(1);
    SplitJob? _job;
    Exception? _failure;
    int _running;
    volatile int _generation;
    volatile bool _disposed;

    /// <summary>Starts the threads.</summary>
    /// <param name="parts">Parts of each job: this many minus one threads, and the caller.</param>
    public ThreadTeam(int parts)
    {
        Parts = parts;
        _barrier = new SpinBarrier(parts);
        _workers = [.. Enumerable.Range(1, parts - 1).Select(part => new Worker(this, part))];
        foreach (Worker worker in _workers)
        {
            worker.Start();
        }
    }

    /// <summary>The number of parts of each job.</summary>
    public int Parts { get; }

    /// <summary>Does a job and returns when all parts are done. Callers wait for each other.</summary>
    /// <param name="job">The job.</param>
    /// <param name="split">Whether it is worth sharing; else the caller does it alone.</param>
    public void Run(SplitJob job, bool split)
    {
        lock (_oneJobAtATime)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            if (!split || Parts == 1)
            {
                job.Run(0, 1, _alone);
                return;
            }

            _barrier.Reset();
            (_job, _failure, _running) = (job, null, _workers.Length);
            _generation++; // from here on the workers run
            foreach (Worker worker in _workers)
            {
                worker.Wake();
            }

            try
            {
                job.Run(0, Parts, _barrier);
            }
            catch (OperationCanceledException)
            {
                // Another thread failed; its reason is thrown below.
            }
            catch
            {
                _barrier.Abort();
                throw;
            }
            finally
            {
                var spin = new SpinWait();
                while (Volatile.Read(ref _running) > 0)
                {
                    spin.SpinOnce(sleep1Threshold: -1);
                }
            }

            if (_failure is { } failure)
            {
                throw new InvalidOperationException("A kernel thread failed.", failure);
            }
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        lock (_oneJobAtATime)
        {
            if (_disposed)
            {
                return;
            }

            _disposed = true;
            _generation++;
            foreach (Worker worker in _workers)
            {
                worker.Wake();
            }
        }

        foreach (Worker worker in _workers)
        {
            worker.Dispose();
        }
    }

    sealed class Worker : IDisposable
    {
        readonly ThreadTeam _team;
        readonly int _part;
        readonly Thread _thread;
        readonly SemaphoreSlim _wake = new(0);
        int _asleep;

        public Worker(ThreadTeam team, int part) =>
            (_team, _part, _thread) = (team, part, new Thread(Work) { IsBackground = true, Name = $"openelm kernel {part}" });

        public void Start() => _thread.Start();

        // Whoever takes the flag down owns the wake-up: the worker that found the next job by itself, or the caller, who then releases.
        public void Wake()
        {
            if (Interlocked.Exchange(ref _asleep, 0) == 1)
            {
                _wake.Release();
            }
        }

        public void Dispose()
        {
            _thread.Join();
            _wake.Dispose();
        }

        void Work()
        {
            for (int seen = 0; ;)
            {
                WaitForJob(seen);
                seen = _team._generation;
                if (_team._disposed)
                {
                    return;
                }

                try
                {
                    _team._job!.Run(_part, _team.Parts, _team._barrier);
                }
#pragma warning disable CA1031 // handed to the caller of Run
                catch (Exception e)
                {
                    _team._barrier.Abort();
                    if (e is not OperationCanceledException)
                    {
                        _team._failure = e;
                    }
                }
#pragma warning restore CA1031
                finally
                {
                    Interlocked.Decrement(ref _team._running);
                }
            }
        }

        void WaitForJob(int seen)
        {
            long until = Stopwatch.GetTimestamp() + SpinTicks;
            for (int spins = 1; _team._generation == seen; spins++)
            {
                if (spins % 64 == 0)
                {
                    if (Stopwatch.GetTimestamp() > until)
                    {
                        Sleep(seen);
                        return;
                    }

                    Thread.Yield(); // costs nothing where nobody else wants the processor
                }
            }
        }

        void Sleep(int seen)
        {
            Interlocked.Exchange(ref _asleep, 1);
            if (_team._generation != seen && Interlocked.Exchange(ref _asleep, 0) == 1)
            {
                return;
            }

            _wake.Wait();
        }
    }
}
