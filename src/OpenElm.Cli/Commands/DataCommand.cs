using System.CommandLine;
using OpenElm.Data;
using OpenElm.Distributed;
using OpenElm.Tokenization;
using OpenElm.Training;

namespace OpenElm.Cli.Commands;

/// <summary>Looks at the training text of a run, and tokenizes it ahead of time.</summary>
internal static class DataCommand
{
    const long Megabyte = 1_000_000;

    public static Command Create(ConsoleContext context) =>
        new("data", "Look at a run's training text, or tokenize it ahead of time") { Inspect(context), Prepare(context) };

    static Command Inspect(CommandContext context)
    {
        var run = new RunArguments();
        var samples = new Option<int>("--samples") { Description = "Sequences to spell out", DefaultValueFactory = _ => 3 };
        var command = new Command("inspect", "Count files, documents and tokens; say what each mode keeps, pads and drops") { run.Config, run.Set, run.Tokenizer, samples };
        command.SetAction(parsed =>
        {
            int count = parsed.GetValue(samples);
            if (count < 0)
            {
                throw new OpenElmException($"--samples is {count}; it must be 0 or more.");
            }

            RunConfig config = run.Read(parsed);
            SentencePieceTokenizer tokenizer = run.FindTokenizer(parsed, config, context, save: false);
            DataReport report = DataInspection.Run(config.Data, Environment.CurrentDirectory, tokenizer, count,
                file => context.Log($"Read {file}."), context.Warn, context.Cancellation);
            if (context.IsJson)
            {
                context.WriteJson(report);
            }
            else
            {
                DataReportText.Write(report, config.Data.SequenceLength, context.Output);
            }
        });
        return command.WithExamples(
            "openelm data inspect configs/training/quickstart.yaml",
            "openelm data inspect configs/training/270m.yaml --tokenizer tokenizer.model --samples 0 --json",
            "openelm data inspect configs/training/quickstart.yaml --set data.min_tokens_per_text=256");
    }

    static Command Prepare(ConsoleContext context)
    {
        var run = new RunArguments();
        var output = new Option<string>("--output", "-o") { Description = "The folder to write; name it in data.prepared_dir", Required = true };
        var pieceSize = new Option<int>("--piece-size") { Description = "Largest file, in megabytes", DefaultValueFactory = _ => 60 };
        var overwrite = new Option<bool>("--overwrite") { Description = "Replace the output folder if it exists" };
        var command = new Command("prepare", "Tokenize the training text once, into files that a run reads instead") { run.Config, run.Set, run.Tokenizer, output, pieceSize, overwrite };
        command.SetAction(parsed => Job.Run(context, group =>
        {
            int megabytes = parsed.GetValue(pieceSize);
            if (megabytes < 1)
            {
                throw new OpenElmException($"--piece-size is {megabytes}; it must be at least 1.");
            }

            RunConfig config = run.Read(parsed);
            SentencePieceTokenizer tokenizer = TokenizerOf(parsed, config, group);
            string folder = parsed.GetRequiredValue(output);
            PreparedManifest manifest = DataPreparation.Write(config.Data with { PreparedDir = null }, Environment.CurrentDirectory, tokenizer, folder,
                new PrepareOptions { PieceBytes = megabytes * Megabyte, Overwrite = parsed.GetValue(overwrite), Group = group },
                file => context.Log($"Tokenized {file.Name}: {file.Documents} documents, {file.Pieces.Sum(piece => piece.Tokens)} tokens."),
                context.Warn, context.Cancellation);
            if (!group.IsFirst())
            {
                return;
            }

            if (context.IsJson)
            {
                context.WriteJson(new
                {
                    Output = folder,
                    Files = manifest.Files.Length,
                    Documents = manifest.Files.Sum(file => file.Documents),
                    Texts = manifest.TotalTexts(),
                    Tokens = manifest.TotalTokens(),
                    Bytes = manifest.TotalBytes(),
                    BadRecords = manifest.Files.Sum(file => file.BadRecords),
                });
            }
            else
            {
                context.Output.WriteLine($"{folder}: {manifest.TotalTokens():N0} tokens of {manifest.TotalTexts():N0} texts, {Quantity.Bytes(manifest.TotalBytes())}");
            }
        }));

        // One rank trains it, the others read it.
        SentencePieceTokenizer TokenizerOf(ParseResult parsed, RunConfig config, IProcessGroup? group)
        {
            group.OnFirstRank(() => run.FindTokenizer(parsed, config, context, save: true));
            return run.FindTokenizer(parsed, config, context, save: false);
        }

        return command.WithExamples(
            "openelm data prepare configs/training/quickstart.yaml --output runs/quickstart-tokens",
            "openelm pretrain configs/training/quickstart.yaml --set data.prepared_dir=runs/quickstart-tokens");
    }
}
