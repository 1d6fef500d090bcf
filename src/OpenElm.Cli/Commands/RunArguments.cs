using System.CommandLine;
using OpenElm.Data;
using OpenElm.IO;
using OpenElm.Tokenization;
using OpenElm.Training;

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
    /// The tokenizer that a training run would use: given, named, in the run's folder, or trained now and, if
    /// <paramref name="save"/> says so, put where the run will look for it.
    /// </summary>
    public SentencePieceTokenizer FindTokenizer(ParseResult parsed, RunConfig run, CommandContext context, bool save)
    {
        string inRun = new RunFolder(run.Output).TokenizerFile;
        string? file = parsed.GetValue(Tokenizer) ?? run.Tokenizer.Path ?? (File.Exists(inRun) ? inRun : null);
        if (file is not null)
        {
            return SentencePieceTokenizer.Load(file);
        }

        int pieces = run.Tokenizer.Train!.VocabSize;
        context.Log($"Training a tokenizer of {pieces} pieces on the training text.");
        IEnumerable<string> texts = new CorpusTexts(run.Data, Environment.CurrentDirectory, context.Warn).Read(context.Cancellation);
        SentencePieceTokenizer trained = new BpeTrainer(new BpeTrainerOptions { VocabularySize = pieces }).Train(texts, context.Cancellation);
        if (save)
        {
            AtomicFile.WriteBytes(inRun, trained.ModelBytes);
            context.Log($"Saved the tokenizer as {inRun}.");
        }

        return trained;
    }
}
