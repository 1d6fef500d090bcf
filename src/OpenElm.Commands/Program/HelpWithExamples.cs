using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Invocation;
using System.Runtime.CompilerServices;

namespace OpenElm.Commands;

/// <summary>The usual help text, then the verb's examples.</summary>
/// <param name="program">What the user types.</param>
internal sealed class HelpWithExamples(string program) : SynchronousCommandLineAction
{
    readonly HelpAction _help = new();

    public override bool ClearsParseErrors => true;

    public override int Invoke(ParseResult parseResult)
    {
        int exitCode = _help.Invoke(parseResult);
        string[] examples = CommandExamples.Of(parseResult.CommandResult.Command);
        if (examples.Length > 0)
        {
            TextWriter output = parseResult.InvocationConfiguration.Output;
            output.WriteLine("Examples:");
            foreach (string example in examples)
            {
                output.WriteLine($"  {program}{example[CommandExamples.Program.Length..]}");
            }

            output.WriteLine();
        }

        return exitCode;
    }
}

/// <summary>Examples beside commands, which System.CommandLine has no place for.</summary>
internal static class CommandExamples
{
    /// <summary>What every example begins with; another program puts its own name there.</summary>
    public const string Program = "openelm";

    static readonly ConditionalWeakTable<Command, string[]> Examples = [];

    /// <summary>Gives the command whole command lines to show in its help.</summary>
    /// <param name="command">The command.</param>
    /// <param name="examples">Lines a user can type, each beginning with <c>openelm</c>.</param>
    /// <returns>The same command.</returns>
    public static Command WithExamples(this Command command, params string[] examples)
    {
        Examples.Add(command, examples);
        return command;
    }

    public static string[] Of(Command command) => Examples.TryGetValue(command, out string[]? examples) ? examples : [];
}
