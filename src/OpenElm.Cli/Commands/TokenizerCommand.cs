using System.CommandLine;
using System.Globalization;
using OpenElm.Checkpoints;
using OpenElm.Data;
using OpenElm.IO;
using OpenElm.Tokenization;

namespace OpenElm.Cli.Commands;

/// <summary>Trains tokenizers, encodes and decodes with them, describes them.</summary>
internal static class TokenizerCommand
{
    public static Command Create(CommandContext context) => new Command("tokenizer", "Train a SentencePiece tokenizer, or encode and decode with one")
    {
        CreateTrain(context), CreateEncode(context), CreateDecode(context), CreateInfo(context),
    }.WithExamples(
        "openelm tokenizer train samples/pretrain/train.jsonl.gz --vocab-size 8192 --output tokenizer.model",
        "openelm tokenizer encode samples/tokenizer/mistral \"Hello world\" --pieces",
        "openelm tokenizer decode samples/tokenizer/mistral 22557 1526",
        "openelm tokenizer info samples/tokenizer/mistral --json");

    static Command CreateTrain(CommandContext context)
    {
        var defaults = new BpeTrainerOptions();
        var inputs = new Argument<string[]>("inputs") { Arity = ArgumentArity.OneOrMore, Description = "Files of texts: jsonl, json.gz, jsonl.gz, zst, parquet or txt" };
        var output = new Option<string>("--output", "-o") { Description = "The tokenizer.model to write", Required = true };
        var size = new Option<int>("--vocab-size") { Description = "Number of pieces", DefaultValueFactory = _ => defaults.VocabularySize };
        var coverage = new Option<double>("--character-coverage") { Description = "Share of the characters that become pieces; the rest is bytes", DefaultValueFactory = _ => defaults.CharacterCoverage };
        var textKey = new Option<string>("--text-key") { Description = "Key or column of the text", DefaultValueFactory = _ => "text" };
        var raw = new Option<bool>("--raw") { Description = "Leave out the clean-up that the data pipeline applies to every text" };
        var joinDigits = new Option<bool>("--join-digits") { Description = "Let runs of digits become pieces" };
        var noBytes = new Option<bool>("--no-byte-fallback") { Description = "Leave out the byte pieces; other characters become <unk>" };
        var threads = new Option<int>("--threads") { Description = "Threads that count words; the result does not depend on it", DefaultValueFactory = _ => defaults.Threads };
        var command = new Command("train", "Train a BPE tokenizer of LLaMA's kind")
        {
            inputs, output, size, coverage, textKey, raw, joinDigits, noBytes, threads,
        };
        command.SetAction(parsed =>
        {
            var options = new BpeTrainerOptions
            {
                VocabularySize = parsed.GetValue(size),
                CharacterCoverage = parsed.GetValue(coverage),
                SplitDigits = !parsed.GetValue(joinDigits),
                ByteFallback = !parsed.GetValue(noBytes),
                Threads = parsed.GetValue(threads),
            };
            var data = new DataConfig
            {
                // A brace in a file name is no pattern here.
                Sources = [.. parsed.GetRequiredValue(inputs).Select(file => new DataSource
                {
                    FileName = file.Replace("{", "{{", StringComparison.Ordinal).Replace("}", "}}", StringComparison.Ordinal),
                    TextKey = parsed.GetRequiredValue(textKey),
                })],
                CleanUp = !parsed.GetValue(raw),
            };
            RequireFiles(parsed.GetRequiredValue(inputs));
            long start = context.Time.GetTimestamp();
            IEnumerable<string> texts = new CorpusTexts(data, Environment.CurrentDirectory, context.Warn).Read(context.Cancellation);
            SentencePieceTokenizer tokenizer = new BpeTrainer(options).Train(texts, context.Cancellation);
            string path = parsed.GetRequiredValue(output);
            AtomicFile.WriteBytes(path, tokenizer.ModelBytes);
            double seconds = context.Time.GetElapsedTime(start).TotalSeconds;
            if (context.IsJson)
            {
                context.WriteJson(new { Output = path, Pieces = tokenizer.PieceCount, Seconds = seconds });
            }
            else
            {
                context.Log($"Trained {tokenizer.PieceCount} pieces in {seconds:F1} s.");
                context.Output.WriteLine(path);
            }
        });
        return command.WithExamples(
            "openelm tokenizer train samples/pretrain/train.jsonl.gz --vocab-size 8192 --output tokenizer.model",
            "openelm tokenizer train a.parquet b.parquet --text-key content --vocab-size 32000 --output tokenizer.model --json");
    }

    static Command CreateEncode(CommandContext context)
    {
        Argument<string> model = ModelArgument();
        var text = new Argument<string?>("text") { Arity = ArgumentArity.ZeroOrOne, Description = "The text" };
        var input = new Option<string?>("--input", "-i") { Description = "Encode this file instead: every line is a text" };
        var bos = new Option<bool>("--bos") { Description = "Put BOS in front" };
        var eos = new Option<bool>("--eos") { Description = "Put EOS at the end" };
        var special = new Option<bool>("--special") { Description = "Take <s> and </s> in the text for the pieces" };
        var clean = new Option<bool>("--clean-up") { Description = "Clean the text up first, as the data pipeline does" };
        var pieces = new Option<bool>("--pieces") { Description = "Print the pieces instead of their ids" };
        var command = new Command("encode", "Turn text into token ids: one line of ids for each text") { model, text, input, bos, eos, special, clean, pieces };
        command.SetAction(parsed =>
        {
            SentencePieceTokenizer tokenizer = LoadModel(parsed.GetRequiredValue(model));
            var options = new TokenizerOptions
            {
                AddBos = parsed.GetValue(bos),
                AddEos = parsed.GetValue(eos),
                RecognizeSpecialPieces = parsed.GetValue(special),
                CleanUp = parsed.GetValue(clean),
            };
            IEnumerable<string> texts = TextsOf(parsed.GetValue(text), parsed.GetValue(input), "TEXT");
            if (context.IsJson)
            {
                context.WriteJson(texts.Select(line => tokenizer.EncodeWithOffsets(line, options)
                    .Select(piece => new { piece.Id, Piece = tokenizer.PieceOf(piece.Id), piece.Offset, piece.Length })));
                return;
            }

            foreach (string line in texts)
            {
                context.Cancellation.ThrowIfCancellationRequested();
                int[] ids = tokenizer.Encode(line, options);
                context.Output.WriteLine(string.Join(' ', parsed.GetValue(pieces) ? ids.Select(tokenizer.PieceOf) : ids.Select(Number)));
            }
        });
        return command.WithExamples(
            "openelm tokenizer encode samples/tokenizer/mistral \"Hello world\"",
            "openelm tokenizer encode samples/tokenizer/mistral \"Hello world\" --bos --pieces",
            "openelm tokenizer encode runs/quickstart/average --input texts.txt > ids.txt");
    }

    static Command CreateDecode(CommandContext context)
    {
        Argument<string> model = ModelArgument();
        var ids = new Argument<int[]>("ids") { Arity = ArgumentArity.ZeroOrMore, Description = "Token ids" };
        var input = new Option<string?>("--input", "-i") { Description = "Decode this file instead: every line holds the ids of a text" };
        var command = new Command("decode", "Turn token ids into text") { model, ids, input };
        command.SetAction(parsed =>
        {
            SentencePieceTokenizer tokenizer = LoadModel(parsed.GetRequiredValue(model));
            int[] given = parsed.GetValue(ids) ?? [];
            string? inline = given.Length == 0 ? null : string.Join(' ', given.Select(Number));
            string[] texts = [.. TextsOf(inline, parsed.GetValue(input), "IDS").Select((line, index) => tokenizer.Decode(IdsOf(line, index)))];
            if (context.IsJson)
            {
                context.WriteJson(texts);
                return;
            }

            foreach (string text in texts)
            {
                context.Output.WriteLine(text);
            }
        });
        return command.WithExamples(
            "openelm tokenizer decode samples/tokenizer/mistral 22557 1526",
            "openelm tokenizer decode runs/quickstart/average --input ids.txt --json");
    }

    static Command CreateInfo(CommandContext context)
    {
        Argument<string> model = ModelArgument();
        var command = new Command("info", "Describe a tokenizer") { model };
        command.SetAction(parsed =>
        {
            SentencePieceTokenizer tokenizer = LoadModel(parsed.GetRequiredValue(model));
            TokenizerSummary summary = tokenizer.Summarize();
            if (context.IsJson)
            {
                context.WriteJson(new { Summary = summary, tokenizer.UnknownId, tokenizer.BosId, tokenizer.EosId, tokenizer.PadId });
                return;
            }

            TextWriter output = context.Output;
            output.WriteLine($"SentencePiece BPE, {summary.Pieces} pieces: {summary.Normal} ordinary, {summary.Bytes} bytes, {summary.Control} control, "
                + $"{summary.UserDefined} user-defined, {summary.Unused} unused; the longest has {summary.LongestPiece} characters.");
            output.WriteLine($"unknown {tokenizer.UnknownId}, BOS {tokenizer.BosId}, EOS {tokenizer.EosId}, padding {tokenizer.PadId}"
                + (tokenizer.PadId == tokenizer.PieceCount ? " (none in the file: the number of pieces)" : ""));
            output.WriteLine($"A text gets {(summary.AddDummyPrefix ? "a" : "no")} blank in front, extra blanks are {(summary.RemoveExtraBlanks ? "removed" : "kept")}, "
                + $"other characters become {(summary.ByteFallback ? "bytes" : "<unk>")}.");
        });
        return command.WithExamples("openelm tokenizer info samples/tokenizer/mistral", "openelm tokenizer info tokenizer.model --json");
    }

    static Argument<string> ModelArgument() => new("model") { Description = $"A {ModelFolder.TokenizerFile}, or a folder that holds one" };

    static SentencePieceTokenizer LoadModel(string path) =>
        SentencePieceTokenizer.Load(Directory.Exists(path) ? Path.Combine(path, ModelFolder.TokenizerFile) : path);

    static void RequireFiles(string[] files)
    {
        string[] problems = [.. files.Where(file => !File.Exists(file)).Select(file => $"there is no file {file}")];
        if (problems.Length > 0)
        {
            throw OpenElmException.Of("Cannot read the texts", problems);
        }
    }

    static IEnumerable<string> TextsOf(string? inline, string? file, string name)
    {
        if ((inline is null) == (file is null))
        {
            throw new OpenElmException($"Give either {name} or --input FILE.");
        }

        if (inline is not null)
        {
            return [inline];
        }

        return File.Exists(file) ? File.ReadLines(file) : throw new OpenElmException($"There is no file {file}; --input names a text file.");
    }

    static int[] IdsOf(string line, int index) => [.. line.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries).Select(word =>
        int.TryParse(word, NumberStyles.None, CultureInfo.InvariantCulture, out int id)
            ? id
            : throw new OpenElmException($"Line {index + 1} holds '{word}', which is no token id; ids are whole numbers separated by blanks."))];

    static string Number(int id) => id.ToString(CultureInfo.InvariantCulture);
}
