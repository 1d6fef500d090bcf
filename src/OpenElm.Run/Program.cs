using System.CommandLine;
using OpenElm.Commands;

namespace OpenElm.Run;

/// <summary>The program <c>openelm-run</c>: the verbs of inference in one native file.</summary>
internal static class Program
{
    static int Main(string[] args)
    {
        // Loading allocates some 20 MB; a collection in the middle of it would stop the threads that pack the weights.
        GC.TryStartNoGCRegion(32 << 20);
        Console.OutputEncoding = new System.Text.UTF8Encoding(encoderShouldEmitUTF8Identifier: false);
        var interrupts = new Interrupts();
        using var signals = new StopSignals(interrupts);
        var context = new CommandContext(Console.Out, Console.Error, !Console.IsErrorRedirected, TimeProvider.System, signals.Token)
        {
            Input = Console.In,
            IsInputTerminal = !Console.IsInputRedirected,
            Interrupts = interrupts,
        };
        var commandLine = new CommandLine("openelm-run", "OpenELM for .NET: run open language models with layer-wise scaling on the CPU.");
        RootCommand root = commandLine.CreateRoot(
            context,
            GenerateCommand.Create(context),
            ChatCommand.Create(context),
            ScoreCommand.Create(context),
            PerplexityCommand.Create(context),
            BenchCommand.Create(context),
            InfoCommand.Create(context));
        int exitCode = commandLine.Invoke(args, context, root);
        return exitCode == ExitCodes.Stopped ? signals.ExitCode : exitCode;
    }
}
