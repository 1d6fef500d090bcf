using System.CommandLine;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;

namespace OpenElm.Commands;

/// <summary>What a verb may touch of the outside world: where it writes, its clock, and the wish to stop.</summary>
/// <param name="output">Standard output.</param>
/// <param name="error">Standard error.</param>
/// <param name="isTerminal">Whether a person watches standard error.</param>
/// <param name="time">The clock.</param>
/// <param name="cancellation">Cancelled by Ctrl-C or SIGTERM.</param>
internal class CommandContext(TextWriter output, TextWriter error, bool isTerminal, TimeProvider time, CancellationToken cancellation)
{
    readonly Lock _logging = new();

    /// <summary>Standard output: results, and only results.</summary>
    public TextWriter Output => output;

    /// <summary>Standard error as plain text; use <see cref="Log"/> for lines.</summary>
    public TextWriter Error => error;

    /// <summary>Whether a person watches standard error; when not, progress becomes a readable log.</summary>
    public bool IsTerminal => isTerminal;

    public TimeProvider Time => time;

    /// <summary>Standard input.</summary>
    public TextReader Input { get; init; } = TextReader.Null;

    /// <summary>Whether a person types on standard input.</summary>
    public bool IsInputTerminal { get; init; }

    /// <summary>For verbs that take a Ctrl-C for one piece of work.</summary>
    public Interrupts Interrupts { get; init; } = new();

    /// <summary>Cancelled by Ctrl-C or SIGTERM: pass it on, and let <see cref="OperationCanceledException"/> rise.</summary>
    public CancellationToken Cancellation => cancellation;

    /// <summary>The option every verb inherits.</summary>
    public Option<bool> JsonOption { get; } =
        new("--json") { Description = "Print one JSON document instead of text", Recursive = true };

    /// <summary>Whether the user asked for one JSON document on standard output.</summary>
    public bool IsJson { get; private set; }

    /// <summary>Reads the options that every verb shares.</summary>
    /// <param name="parsed">The parsed command line.</param>
    public void ReadSharedOptions(ParseResult parsed) => IsJson = parsed.GetValue(JsonOption);

    /// <summary>Writes the verb's one machine-readable document; keys are snake_case.</summary>
    /// <typeparam name="T">A record of results.</typeparam>
    /// <param name="document">The results.</param>
    /// <param name="type">How it is written, from <see cref="CommandJson.Documents"/>.</param>
    public void WriteJson<T>(T document, JsonTypeInfo<T> type) => Output.WriteLine(JsonSerializer.Serialize(document, type));

    /// <summary>Reads a text file that the user named.</summary>
    /// <param name="file">The file.</param>
    /// <returns>Its text.</returns>
    /// <exception cref="OpenElmException">It cannot be read.</exception>
    public static string ReadText(string file)
    {
        try
        {
            return File.ReadAllText(file);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new OpenElmException($"Cannot read {file}: {e.Message}", e);
        }
    }

    /// <summary>Says what is going on, on standard error; with the time of day when nobody watches.</summary>
    /// <param name="message">One line of plain text.</param>
    public void Log(string message) => WriteLine(message, isWarning: false);

    /// <summary>Says what the user should know but need not act on.</summary>
    /// <param name="message">One line of plain text.</param>
    public void Warn(string message) => WriteLine("warning: " + message, isWarning: true);

    /// <summary>Writes a line for the person who watches.</summary>
    /// <param name="message">One line of plain text.</param>
    /// <param name="isWarning">Whether it should stand out.</param>
    protected virtual void WriteToTerminal(string message, bool isWarning) => Error.WriteLine(message);

    void WriteLine(string message, bool isWarning)
    {
        lock (_logging)
        {
            if (IsTerminal)
            {
                WriteToTerminal(message, isWarning);
            }
            else
            {
                Error.WriteLine($"{Time.GetLocalNow():HH:mm:ss} {message}");
            }
        }
    }
}
