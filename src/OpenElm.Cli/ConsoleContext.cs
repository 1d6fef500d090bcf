using Spectre.Console;

namespace OpenElm.Cli;

/// <summary>The context of this program's verbs: standard error also has colours and live progress.</summary>
internal sealed class ConsoleContext : CommandContext
{
    public ConsoleContext(TextWriter output, TextWriter error, TimeProvider time, CancellationToken cancellation)
        : this(output, error, new AnsiConsoleOutput(error), time, cancellation)
    {
    }

    ConsoleContext(TextWriter output, TextWriter error, AnsiConsoleOutput destination, TimeProvider time, CancellationToken cancellation)
        : base(output, error, destination.IsTerminal, time, cancellation) =>
        Console = AnsiConsole.Create(new AnsiConsoleSettings
        {
            Out = destination,
            Ansi = IsTerminal ? AnsiSupport.Detect : AnsiSupport.No,
            ColorSystem = IsTerminal ? ColorSystemSupport.Detect : ColorSystemSupport.NoColors,
            Interactive = IsTerminal ? InteractionSupport.Detect : InteractionSupport.No,
        });

    /// <summary>Standard error for colours and live progress; use <see cref="CommandContext.Log"/> for lines.</summary>
    public IAnsiConsole Console { get; }

    /// <inheritdoc/>
    protected override void WriteToTerminal(string message, bool isWarning) =>
        Console.Write(new Text(message + Environment.NewLine, new Style(isWarning ? Color.Yellow : Color.Default)));
}
