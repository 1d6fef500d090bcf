using System.CommandLine;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;
using Spectre.Console;

namespace OpenElm.Cli;

/// <summary>What a verb may touch of the outside world: where it writes, its clock, and the wish to stop.</summary>
internal sealed class CommandContext
{
    static readonly JsonSerializerOptions JsonFormat = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        WriteIndented = true,
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping, // no HTML here: text stays readable
        NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals,
        Converters = { new JsonStringEnumConverter(JsonNamingPolicy.SnakeCaseLower) },
    };

    readonly Lock _logging = new();

    public CommandContext(TextWriter output, TextWriter error, TimeProvider time, CancellationToken cancellation)
    {
        Output = output;
        Error = error;
        Time = time;
        Cancellation = cancellation;
        var destination = new AnsiConsoleOutput(error);
        IsTerminal = destination.IsTerminal;
        Console = AnsiConsole.Create(new AnsiConsoleSettings
        {
            Out = destination,
            Ansi = IsTerminal ? AnsiSupport.Detect : AnsiSupport.No,
            ColorSystem = IsTerminal ? ColorSystemSupport.Detect : ColorSystemSupport.NoColors,
            Interactive = IsTerminal ? InteractionSupport.Detect : InteractionSupport.No,
        });
    }

    /// <summary>Standard output: results, and only results.</summary>
    public TextWriter Output { get; }

    /// <summary>Standard error as plain text.</summary>
    public TextWriter Error { get; }

    /// <summary>Standard error for tables, colours and live progress; use <see cref="Log"/> for lines.</summary>
    public IAnsiConsole Console { get; }

    /// <summary>Whether a person watches standard error; when not, progress becomes a readable log.</summary>
    public bool IsTerminal { get; }

    public TimeProvider Time { get; }

    /// <summary>Cancelled by Ctrl-C or SIGTERM: pass it on, and let <see cref="OperationCanceledException"/> rise.</summary>
    public CancellationToken Cancellation { get; }

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
    public void WriteJson<T>(T document) => Output.WriteLine(JsonSerializer.Serialize(document, JsonFormat));

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
    public void Log(string message) => WriteLine(message, Color.Default);

    /// <summary>Says what the user should know but need not act on.</summary>
    /// <param name="message">One line of plain text.</param>
    public void Warn(string message) => WriteLine("warning: " + message, Color.Yellow);

    void WriteLine(string message, Color colour)
    {
        lock (_logging)
        {
            if (IsTerminal)
            {
                Console.Write(new Text(message + Environment.NewLine, new Style(colour)));
            }
            else
            {
                Error.WriteLine($"{Time.GetLocalNow():HH:mm:ss} {message}");
            }
        }
    }
}
