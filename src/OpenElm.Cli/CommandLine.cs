using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Invocation;
using System.Reflection;
using OpenElm.Cli.Commands;

namespace OpenElm.Cli;

/// <summary>The verbs of <c>openelm</c> and the rules they share: help, version, errors, exit codes.</summary>
internal static class CommandLine
{
    /// <summary>One line a verb, in the order in which help lists them.</summary>
    static readonly Func<CommandContext, Command>[] Verbs =
    [
        PretrainCommand.Create,
        TokenizerCommand.Create,
        DataCommand.Create,
        AverageCommand.Create,
        GenerateCommand.Create,
        ChatCommand.Create,
        ScoreCommand.Create,
        PerplexityCommand.Create,
        BenchCommand.Create,
        InfoCommand.Create,
        VerifyCommand.Create,
        ConvertCommand.Create,
        QuantizeCommand.Create,
        CompletionCommand.Create,
    ];

    /// <summary>The version with the commit it was built from.</summary>
    public static string Version =>
        typeof(CommandLine).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()!.InformationalVersion;

    public static RootCommand CreateRoot(CommandContext context)
    {
        var root = new RootCommand("OpenELM for .NET: train, evaluate and run open language models with layer-wise scaling.");
        root.Options.Add(context.JsonOption);
        root.Options.OfType<HelpOption>().Single().Action = new HelpWithExamples();
        root.Options.OfType<VersionOption>().Single().Action = new PrintVersion();
        foreach (Func<CommandContext, Command> create in Verbs)
        {
            root.Subcommands.Add(create(context));
        }

        root.SetAction(parsed => new HelpWithExamples().Invoke(parsed));
        return root;
    }

    /// <summary>Parses and runs; every way to fail becomes one exit code and one message on standard error.</summary>
    /// <param name="args">The arguments, without the program's name.</param>
    /// <param name="context">Where the verb writes.</param>
    /// <param name="root">The verbs.</param>
    /// <returns>The exit code, see <see cref="ExitCodes"/>.</returns>
    public static int Invoke(string[] args, CommandContext context, RootCommand root)
    {
        // A prompt may begin with @, so that is no file of arguments.
        ParseResult parsed = root.Parse(args, new ParserConfiguration { ResponseFileTokenReplacer = null });
        if (parsed.Action is ParseErrorAction)
        {
            string problems = string.Join(" ", parsed.Errors.Select(e => e.Message.TrimEnd('.') + ".").Distinct());
            return Fail(context, $"{problems} Try '{PathOf(parsed.CommandResult.Command)} --help'.");
        }

        context.ReadSharedOptions(parsed);
        try
        {
            return parsed.Invoke(new InvocationConfiguration
            {
                Output = context.Output,
                Error = context.Error,
                EnableDefaultExceptionHandler = false,
                ProcessTerminationTimeout = null, // Program handles the signals
            });
        }
        catch (OpenElmException problem)
        {
            return Fail(context, problem.Message);
        }
        catch (OperationCanceledException) when (context.Cancellation.IsCancellationRequested)
        {
            context.Error.WriteLine("openelm: stopped.");
            return ExitCodes.Stopped;
        }
        catch (Exception bug)
        {
            context.Error.WriteLine(bug);
            context.Error.WriteLine($"openelm {Version}: this is a bug in openelm; please report it with the lines above.");
            return ExitCodes.Bug;
        }
    }

    static int Fail(CommandContext context, string message)
    {
        context.Error.WriteLine("openelm: " + message);
        return ExitCodes.UserInput;
    }

    static string PathOf(Command command) =>
        command.Parents.OfType<Command>().FirstOrDefault() is { } parent ? $"{PathOf(parent)} {command.Name}" : "openelm";

    sealed class PrintVersion : SynchronousCommandLineAction
    {
        public override bool ClearsParseErrors => true;

        public override int Invoke(ParseResult parseResult)
        {
            parseResult.InvocationConfiguration.Output.WriteLine("openelm " + Version);
            return ExitCodes.Success;
        }
    }
}
