namespace OpenElm.Inference.Threading;

/// <summary>
/// Where the threads of a job wait for each other between two steps of a layer. Steps take microseconds, so they spin; only where a thread
/// has lost its processor do the others give theirs away.
/// </summary>
/// <param name="parts">Threads that meet.</param>
internal sealed class SpinBarrier(int parts)
{
    const int SpinsBeforeYield = 20_000; // some tens of microseconds

    int _arrived;
    volatile int _generation;
    volatile bool _aborted;

    /// <summary>Waits until all threads are here; what they wrote before is visible behind it.</summary>
    /// <exception cref="OperationCanceledException">Another thread failed.</exception>
    public void Wait()
    {
        if (parts == 1)
        {
            return;
        }

        int generation = _generation;
        if (Interlocked.Increment(ref _arrived) == parts)
        {
            _arrived = 0;
            _generation = generation + 1;
            return;
        }

        for (int spins = 0; _generation == generation; spins++)
        {
            if (spins >= SpinsBeforeYield)
            {
                if (_aborted)
                {
                    throw new OperationCanceledException("Another kernel thread failed.");
                }

                Thread.Yield();
            }
        }
    }

    /// <summary>Releases everybody who waits now or later, with an exception.</summary>
    public void Abort() => _aborted = true;

    /// <summary>Makes the barrier ready for the next job; nobody may wait.</summary>
    public void Reset() => (_arrived, _aborted) = (0, false);
}
