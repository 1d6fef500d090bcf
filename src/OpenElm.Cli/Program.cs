namespace OpenElm.Cli;

/// <summary>The program <c>openelm</c>: owns the process's console, signals and exit code, and nothing else.</summary>
internal static class Program
{
    static int Main(string[] args)
    {
        Console.OutputEncoding = new System.Text.UTF8Encoding(encoderShouldEmitUTF8Identifier: false);
        var interrupts = new Interrupts();
        using var signals = new StopSignals(interrupts);
        var context = new CommandContext(Console.Out, Console.Error, TimeProvider.System, signals.Token)
        {
            Input = Console.In,
            IsInputTerminal = !Console.IsInputRedirected,
            Interrupts = interrupts,
        };
        int exitCode = Run(args, context);
        return exitCode == ExitCodes.Stopped ? signals.ExitCode : exitCode;
    }

    /// <summary>Runs one command line inside this process; what the tests call.</summary>
    /// <param name="args">The arguments, without the program's name.</param>
    /// <param name="stdout">Receives results.</param>
    /// <param name="stderr">Receives progress, logs and errors.</param>
    /// <param name="time">The clock; the system's when null.</param>
    /// <param name="cancellation">Cancelled by Ctrl-C.</param>
    /// <returns>The exit code, see <see cref="ExitCodes"/>.</returns>
    public static int Run(
        string[] args, TextWriter stdout, TextWriter stderr, TimeProvider? time = null, CancellationToken cancellation = default)
    {
        return Run(args, new CommandContext(stdout, stderr, time ?? TimeProvider.System, cancellation));
    }

    /// <summary>Runs one command line inside this process.</summary>
    /// <param name="args">The arguments, without the program's name.</param>
    /// <param name="context">The outside world.</param>
    /// <returns>The exit code, see <see cref="ExitCodes"/>.</returns>
    public static int Run(string[] args, CommandContext context) => CommandLine.Invoke(args, context, CommandLine.CreateRoot(context));
}
