namespace OpenElm.Inference.Threading;

/// <summary>Work that can be cut into parts which do not depend on each other.</summary>
internal abstract class SplitJob
{
    /// <summary>Does one part; runs on any thread.</summary>
    /// <param name="part">From 0.</param>
    /// <param name="parts">The number of parts.</param>
    public abstract void Run(int part, int parts);
}

/// <summary>
/// A few threads that wait for jobs and share each of them. Nothing is allocated per job. A thread spins for a moment
/// before it sleeps, because the next product of a layer usually follows within microseconds.
/// </summary>
internal sealed class ThreadTeam : IDisposable
{
    readonly Thread[] _threads;
    readonly SemaphoreSlim[] _wake;
    readonly Lock _oneJobAtATime = new();
    SplitJob? _job;
    Exception? _failure;
    int _running;
    volatile bool _disposed;

    /// <summary>Starts the threads.</summary>
    /// <param name="parts">Parts of each job: this many minus one threads, and the caller.</param>
    public ThreadTeam(int parts)
    {
        Parts = parts;
        _wake = [.. Enumerable.Range(1, parts - 1).Select(_ => new SemaphoreSlim(0))];
        _threads = [.. Enumerable.Range(1, parts - 1).Select(part => new Thread(() => Work(part)) { IsBackground = true, Name = $"openelm kernel {part}" })];
        foreach (Thread thread in _threads)
        {
            thread.Start();
        }
    }

    /// <summary>The number of parts of each job.</summary>
    public int Parts { get; }

    /// <summary>Does a job and returns when all parts are done.</summary>
    /// <param name="job">The job.</param>
    /// <param name="split">Whether it is worth sharing; else the caller does it alone.</param>
    public void Run(SplitJob job, bool split)
    {
        if (!split || Parts == 1)
        {
            job.Run(0, 1);
            return;
        }

        lock (_oneJobAtATime)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            (_job, _failure) = (job, null);
            Volatile.Write(ref _running, _threads.Length);
            foreach (SemaphoreSlim wake in _wake)
            {
                wake.Release();
            }

            try
            {
                job.Run(0, Parts);
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
            foreach (SemaphoreSlim wake in _wake)
            {
                wake.Release();
            }
        }

        foreach (Thread thread in _threads)
        {
            thread.Join();
        }

        foreach (SemaphoreSlim wake in _wake)
        {
            wake.Dispose();
        }
    }

    void Work(int part)
    {
        while (true)
        {
            _wake[part - 1].Wait();
            if (_disposed)
            {
                return;
            }

            try
            {
                _job!.Run(part, Parts);
            }
#pragma warning disable CA1031 // handed to the caller of Run
            catch (Exception e)
            {
                _failure = e;
            }
#pragma warning restore CA1031
            finally
            {
                Interlocked.Decrement(ref _running);
            }
        }
    }
}
