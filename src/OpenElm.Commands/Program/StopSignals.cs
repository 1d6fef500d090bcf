using System.Runtime.InteropServices;

namespace OpenElm.Commands;

/// <summary>
/// Turns the first Ctrl-C or SIGTERM into a cancelled token, so that work ends cleanly; the second one is left to the
/// operating system and ends the process at once. A Ctrl-C that the verb takes for itself does not count.
/// </summary>
internal sealed class StopSignals : IDisposable
{
    readonly CancellationTokenSource _stop = new();
    readonly PosixSignalRegistration _interrupt;
    readonly PosixSignalRegistration _terminate;

    readonly Interrupts _interrupts;

    public StopSignals(Interrupts interrupts)
    {
        _interrupts = interrupts;
        _interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, Handle);
        _terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, Handle);
    }

    public CancellationToken Token => _stop.Token;

    /// <summary>The exit code of the signal that came first.</summary>
    public int ExitCode { get; private set; } = ExitCodes.Stopped;

    public void Dispose()
    {
        _interrupt.Dispose();
        _terminate.Dispose();
        _stop.Dispose();
    }

    void Handle(PosixSignalContext signal)
    {
        if (_stop.IsCancellationRequested)
        {
            return;
        }

        if (signal.Signal == PosixSignal.SIGINT && _interrupts.TryInterrupt())
        {
            signal.Cancel = true;
            return;
        }

        ExitCode = signal.Signal == PosixSignal.SIGTERM ? ExitCodes.Terminated : ExitCodes.Stopped;
        signal.Cancel = true;
        _stop.Cancel();
    }
}
