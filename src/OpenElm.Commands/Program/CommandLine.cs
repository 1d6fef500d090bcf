using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Invocation;
using OpenElm.Diagnostics;

namespace OpenElm.Commands;

/// <summary>A program made of verbs, and the rules that all verbs share: help, version, errors, exit codes.</summary>
/// <param name="name">What the user types.</param>
/// <param name="description">One sentence for the help.</param>
internal sealed class CommandLine(string name, string description)
{
    /// <summary>The version with the commit it was built from.</summary>
    public static string Version => Machine.ProgramVersion;

    /// <summary>Makes the program's command.</summary>
    /// <param name="context">Where the verbs write.</param>
    /// <param name="verbs">The verbs, in the order in which help lists them.</param>
    /// <returns>The root of all commands.</returns>
    public RootCommand CreateRoot(CommandContext context, params IEnumerable<Command> verbs)
    {
        var root = new RootCommand(description);
        root.Options.Add(context.JsonOption);
        root.Options.OfType<HelpOption>().Single().Action = new HelpWithExamples(name);
        root.Options.OfType<VersionOption>().Single().Action = new PrintVersion(name);
        foreach (Command verb in verbs)
        {
            root.Subcommands.Add(verb);
        }

        root.SetAction(parsed => new HelpWithExamples(name).Invoke(parsed));
        return root;
    }

    /// <summary>Parses and runs; every way to fail becomes one exit code and one message on standard error.</summary>
    /// <param name="args">The arguments, without the program's name.</param>
    /// <param name="context">Where the verb writes.</param>
    /// <param name="root">The verbs.</param>
    /// <returns>The exit code, see <see cref="ExitCodes"/>.</returns>
    public int Invoke(string[] args, CommandContext context, RootCommand root)
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
            context.Error.WriteLine($"{name}: stopped.");
            return ExitCodes.Stopped;
        }
        catch (Exception problem) when (MemoryShortage.Of(problem) is { } shortage)
        {
            return Fail(context, $"{shortage}; give it a smaller model, batch or length, or more memory.");
        }
        catch (Exception bug)
        {
            context.Error.WriteLine(bug);
            context.Error.WriteLine($"{name} {Version}: this is a bug in {name}; please report it with the lines above.");
            return ExitCodes.Bug;
        }
    }

    int Fail(CommandContext context, string message)
    {
        context.Error.WriteLine($"{name}: {message}");
        return ExitCodes.UserInput;
    }

    string PathOf(Command command) =>
        command.Parents.OfType<Command>().FirstOrDefault() is { } parent ? $"{PathOf(parent)} {command.Name}" : name;

    sealed class PrintVersion(string name) : SynchronousCommandLineAction
    {
        public override bool ClearsParseErrors => true;

        public override int Invoke(ParseResult parseResult)
        {
            parseResult.InvocationConfiguration.Output.WriteLine($"{name} {Version}");
            return ExitCodes.Success;
        }
    }
}
