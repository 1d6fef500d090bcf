using System.CommandLine;
using OpenElm.Cli.Commands;
using OpenElm.Distributed;

namespace OpenElm.Cli;

/// <summary>The program <c>openelm</c>: owns the process's console, signals and exit code, and lists its verbs.</summary>
internal static class Program
{
    /// <summary>The rules of the program.</summary>
    public static CommandLine CommandLine { get; } =
        new("openelm", "OpenELM for .NET: train, evaluate and run open language models with layer-wise scaling.");

    static int Main(string[] args)
    {
        if (JobLauncher.IsLaunched)
        {
            Environment.SetEnvironmentVariable("TERM", "dumb"); // mpirun gives ranks pseudo-terminals, but what they write goes to files and other programs
        }

        Console.OutputEncoding = new System.Text.UTF8Encoding(encoderShouldEmitUTF8Identifier: false);
        var interrupts = new Interrupts();
        using var signals = new StopSignals(interrupts);
        var context = new ConsoleContext(Console.Out, Console.Error, TimeProvider.System, signals.Token)
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
        var context = new ConsoleContext(stdout, stderr, time ?? TimeProvider.System, cancellation);
        return Run(args, context);
    }

    /// <summary>Runs one command line inside this process.</summary>
    /// <param name="args">The arguments, without the program's name.</param>
    /// <param name="context">The outside world.</param>
    /// <returns>The exit code, see <see cref="ExitCodes"/>.</returns>
    public static int Run(string[] args, ConsoleContext context) => CommandLine.Invoke(args, context, CreateRoot(context));

    /// <summary>All verbs, in the order in which help lists them.</summary>
    /// <param name="context">Where they write.</param>
    /// <returns>The root of all commands.</returns>
    public static RootCommand CreateRoot(ConsoleContext context) => CommandLine.CreateRoot(
        context,
        PretrainCommand.Create(context),
        FinetuneCommand.Create(context),
        AlignCommand.Create(context),
        TokenizerCommand.Create(context),
        DataCommand.Create(context),
        AverageCommand.Create(context),
        MergeCommand.Create(context),
        GenerateCommand.Create(context),
        ChatCommand.Create(context),
        ScoreCommand.Create(context),
        PerplexityCommand.Create(context),
        EvaluateCommand.Create(context),
        Bench(context),
        EnvironmentReport.CreateInfoCommand(context),
        VerifyCommand.Create(context),
        ConvertCommand.Create(context),
        QuantizeCommand.Create(context),
        CompletionCommand.Create(context));

    // Of this program alone: openelm-run cannot train.
    static Command Bench(ConsoleContext context)
    {
        Command bench = BenchCommand.Create(context);
        bench.Subcommands.Add(BenchTrainCommand.Create(context));
        bench.Subcommands.Add(BenchNormsCommand.Create(context));
        bench.Subcommands.Add(BenchScalingCommand.Create(context));
        return bench;
    }
}
