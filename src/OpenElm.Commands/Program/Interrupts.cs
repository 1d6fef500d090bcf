namespace OpenElm.Commands;

/// <summary>
/// Lets a verb take a Ctrl-C for the piece of work at hand, such as one answer, instead of for the whole program. Only the
/// first: the next one stops the program.
/// </summary>
internal sealed class Interrupts
{
    CancellationTokenSource? _work;

    /// <summary>Begins work that Ctrl-C stops; dispose it at its end.</summary>
    /// <param name="program">What stops the program stops the work too.</param>
    /// <returns>The work's own cancellation.</returns>
    public Scope Begin(CancellationToken program)
    {
        var work = CancellationTokenSource.CreateLinkedTokenSource(program);
        _work = work;
        return new Scope(this, work);
    }

    /// <summary>Stops the work at hand.</summary>
    /// <returns>Whether there was any.</returns>
    public bool TryInterrupt()
    {
        CancellationTokenSource? work = Interlocked.Exchange(ref _work, null);
        work?.Cancel();
        return work is not null;
    }

    /// <summary>Work that Ctrl-C stops.</summary>
    public sealed class Scope : IDisposable
    {
        readonly Interrupts _owner;
        readonly CancellationTokenSource _work;

        internal Scope(Interrupts owner, CancellationTokenSource work) => (_owner, _work) = (owner, work);

        /// <summary>Cancelled by Ctrl-C.</summary>
        public CancellationToken Token => _work.Token;

        /// <inheritdoc/>
        public void Dispose()
        {
            // Not disposed where a signal has taken it and may just be cancelling it.
            if (Interlocked.CompareExchange(ref _owner._work, null, _work) == _work)
            {
                _work.Dispose();
            }
        }
    }
}
