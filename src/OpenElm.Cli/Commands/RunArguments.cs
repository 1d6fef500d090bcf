using System.CommandLine;
using OpenElm.Tokenization;
using OpenElm.Training;
using OpenElm.Yaml;

namespace OpenElm.Cli.Commands;

/// <summary>A run's configuration on the command line, for verbs that look at its data.</summary>
internal sealed class RunArguments
{
    public Argument<string> Config { get; } = new("config") { Description = "The run's YAML configuration" };

    public Option<string[]> Set { get; } = new("--set")
    {
        Description = "A value that wins over the file, as in data.sequence_length=512; may be given again",
        DefaultValueFactory = _ => [],
    };

    public Option<string?> Tokenizer { get; } = new("--tokenizer") { Description = "A SentencePiece tokenizer.model instead of the configuration's" };

    public RunConfig Read(ParseResult parsed) => StrictYaml.Read<RunConfig>(parsed.GetRequiredValue(Config), parsed.GetValue(Set));

    /// <summary>
    /// The tokenizer that a training run would use: given here, named, in the run's folder, or trained now and, if
    /// <paramref name="save"/> says so, put where the run will look for it.
    /// </summary>
    public SentencePieceTokenizer FindTokenizer(ParseResult parsed, RunConfig run, CommandContext context, bool save) =>
        parsed.GetValue(Tokenizer) is { } file
            ? SentencePieceTokenizer.Load(file)
            : RunTokenizer.Find(run, Environment.CurrentDirectory, save, context.Log, context.Cancellation);
}
