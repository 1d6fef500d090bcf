using System.CommandLine;
using OpenElm.Checkpoints;
using OpenElm.Configuration;
using OpenElm.Tokenization;
using OpenElm.Verification.Conversion;

namespace OpenElm.Cli.Commands;

/// <summary>Writes a model in another format or type, from any checkpoint or from random weights, and checks what was written.</summary>
internal static class ConvertCommand
{
    const string Keep = "keep", FromTokenizer = "tokenizer";

    static readonly Dictionary<string, CheckpointFormat> Formats = new(StringComparer.OrdinalIgnoreCase)
    {
        ["hf"] = CheckpointFormat.HuggingFace,
        ["gguf"] = CheckpointFormat.Gguf,
        ["mlx"] = CheckpointFormat.Mlx,
        ["mlx-lm"] = CheckpointFormat.MlxLm,
    };

    static readonly Dictionary<string, DType> Types = new[] { ("fp32", DType.F32), ("bf16", DType.BF16), ("fp16", DType.F16) }
        .Concat(Enum.GetValues<DType>().Where(dtype => dtype.IsBlocked()).Select(dtype => (dtype.ToString().ToLowerInvariant(), dtype)))
        .ToDictionary(pair => pair.Item1, pair => pair.Item2, StringComparer.OrdinalIgnoreCase);

    public static Command Create(CommandContext context)
    {
        var paths = new Argument<string[]>("source destination")
        {
            Arity = new ArgumentArity(1, 2),
            Description = "A model of any format, and the folder or file to write; with --random only the latter",
        };
        var to = new Option<string?>("--to") { Description = "Format to write: hf (also what mlx-lm reads), gguf, mlx (Apple's example), mlx-lm (for quantised folders); gguf for a name ending in .gguf, else hf" };
        to.AcceptOnlyFromAmong([.. Formats.Keys]);
        var dtype = new Option<string?>("--dtype") { Description = $"Type of the weights instead of their own: {string.Join(", ", Types.Keys)}" };
        dtype.AcceptOnlyFromAmong([.. Types.Keys]);
        var overwrite = new Option<bool>("--overwrite") { Description = "Replace the destination if it exists" };
        var tokenizer = new Option<string?>("--tokenizer") { Description = "A tokenizer.model to put beside the weights, or llama2.c's tokenizer (.bin)" };
        var vocabRows = new Option<string>("--vocab-rows") { Description = "Rows of the vocabulary: keep, tokenizer (cut those behind its last piece), or a number", DefaultValueFactory = _ => Keep };
        var config = new Option<string?>("--config") { Description = "Architecture of a CoreNet checkpoint, which does not say it: a config.json or a shipped model" };
        var noVerify = new Option<bool>("--no-verify") { Description = "Compare only architectures and weights, do not run source and result: for models larger than this machine's memory" };
        var maxShardSize = new Option<int?>("--max-shard-size") { Description = "Largest weights file of a Hugging Face folder, in megabytes (10^6 bytes); one tensor is never split [default: 5000]" };
        var random = new Option<string?>("--random") { Description = $"Random weights for a config.json or a shipped model: {string.Join(", ", NamedConfigs.Names)}" };
        var seed = new Option<int>("--seed") { Description = "Seed of random weights" };
        var command = new Command("convert", "Write a model in another format or type, and check that it computes the same")
        {
            paths, to, dtype, overwrite, tokenizer, vocabRows, config, noVerify, maxShardSize, random, seed,
        };
        command.SetAction(parsed =>
        {
            string[] given = parsed.GetRequiredValue(paths);
            string? model = parsed.GetValue(random), source = model is null && given.Length == 2 ? given[0] : null;
            if ((model is null) != (given.Length == 2))
            {
                throw new OpenElmException("Name a source and a destination, or --random MODEL and a destination.");
            }

            var options = new Options(
                given[^1],
                parsed.GetValue(to) is { } format ? Formats[format] : CheckpointWriter.FormatOf(given[^1]),
                parsed.GetValue(dtype) is { } type ? Types[type] : null,
                parsed.GetValue(overwrite), parsed.GetValue(tokenizer), parsed.GetValue(vocabRows)!, !parsed.GetValue(noVerify), parsed.GetValue(maxShardSize));
            options.Validate();
            if (source is not null)
            {
                Convert(context, source, parsed.GetValue(config) is { } name ? ModelSource.Find(name).Config : null, options);
            }
            else
            {
                Draw(context, ModelSource.Find(model!).Config, parsed.GetValue(seed), options);
            }
        });
        return command.WithExamples(
            "openelm convert OpenELM-270M openelm-270m.gguf --dtype bf16 --tokenizer tokenizer.model",
            "openelm convert checkpoint_average.pt openelm-270m --vocab-rows 32000",
            "openelm convert openelm-270m openelm-270m-mlx --to mlx --dtype affine4x64",
            "openelm convert openelm-270m-q4.gguf openelm-270m-again --dtype bf16",
            "openelm convert runs/books/average books --dtype bf16 --max-shard-size 15",
            "openelm convert samples/stories260k/stories260K.bin stories --tokenizer samples/stories260k/tok512.bin",
            "openelm convert --random openelm-270m random-270m.gguf --seed 1");
    }

    static void Convert(CommandContext context, string source, OpenElmConfig? architecture, Options options)
    {
        using var checkpoint = Checkpoint.Open(source, architecture);
        foreach (string note in checkpoint.Notes)
        {
            context.Log(note);
        }

        ModelContent content = WithOptions(CheckpointWriter.Content(checkpoint, options.Format, options.Type), options);
        if (!options.RunsModels)
        {
            context.Warn("Source and result are not run (--no-verify): only their architectures and weights are compared.");
        }

        ConversionReport? report = null;
        CheckpointWriter.Write(options.Destination, content, options.Format, options.Overwrite, written =>
        {
            report = ConversionCheck.Run(checkpoint, content, written, options.RunsModels);
            report.RequirePassed();
        });
        Report(context, options, content, report);
    }

    static void Draw(CommandContext context, OpenElmConfig config, int seed, Options options)
    {
        if (options.Type is { } type && type.IsBlocked())
        {
            throw new OpenElmException($"Random weights are drawn as fp32, bf16 or fp16; convert the result to {type}.");
        }

        ModelContent content = WithOptions(RandomModel.Create(config, seed, options.Type ?? DType.F32), options);
        CheckpointWriter.Write(options.Destination, content, options.Format, options.Overwrite, written => Checkpoint.Open(written).Dispose());
        Report(context, options, content, null);
    }

    static ModelContent WithOptions(ModelContent content, Options options)
    {
        content = WithRows(WithTokenizer(content, options.Tokenizer), options.Rows);
        return options.MaxShardSize is { } megabytes ? content with { MaxShardBytes = megabytes * 1_000_000L } : content;
    }

    static ModelContent WithTokenizer(ModelContent content, string? path)
    {
        if (path is null)
        {
            return content;
        }

        SentencePieceTokenizer tokenizer = path.EndsWith(".bin", StringComparison.OrdinalIgnoreCase)
            ? Llama2cTokenizer.Read(path, content.Config.VocabSize)
            : SentencePieceTokenizer.Load(path);
        return tokenizer.PieceCount <= content.Config.VocabSize
            ? content with { Tokenizer = tokenizer.ModelBytes }
            : throw new OpenElmException($"The tokenizer {path} has {tokenizer.PieceCount} pieces, the model only {content.Config.VocabSize} rows; they do not belong together.");
    }

    static ModelContent WithRows(ModelContent content, string rows)
    {
        if (rows == Keep)
        {
            return content;
        }

        int count = rows == FromTokenizer
            ? content.Tokenizer is { } model ? SentencePieceTokenizer.Parse(model.Span).PieceCount : throw new OpenElmException("--vocab-rows tokenizer needs a tokenizer; name one with --tokenizer.")
            : int.TryParse(rows, out int number) ? number
            : throw new OpenElmException($"--vocab-rows is {rows}; it must be {Keep}, {FromTokenizer} or a number.");
        return ModelConversion.WithVocabulary(content, count);
    }

    static void Report(CommandContext context, Options options, ModelContent content, ConversionReport? report)
    {
        IReadOnlyList<string> differences = options.Format == CheckpointFormat.HuggingFace ? OpenElmConfigJson.HuggingFaceDifferences(content.Config) : [];
        foreach (string difference in differences)
        {
            context.Warn(difference);
        }

        // The type that most bytes have: norms stay in a plain type.
        DType type = content.Weights.GroupBy(weight => weight.DType).MaxBy(group => group.Sum(weight => weight.ByteCount))!.Key;
        long parameters = ParameterCount.Of(content.Config).Total, bytes = content.Weights.Sum(weight => weight.ByteCount);
        if (context.IsJson)
        {
            context.WriteJson(new
            {
                Output = options.Destination,
                options.Format,
                Parameters = parameters,
                Bytes = bytes,
                Dtype = type.TorchName(),
                content.Config.VocabSize,
                HasTokenizer = content.Tokenizer is not null,
                Verification = report,
                HuggingFaceDifferences = differences,
            });
            return;
        }

        context.Log($"{parameters:N0} parameters, {Quantity.Bytes(bytes)} of weights ({type.TorchName()}), {content.Config.VocabSize:N0} rows, {(content.Tokenizer is null ? "no tokenizer" : "with tokenizer")}");
        if (report is not null)
        {
            context.Log($"Checked: {report}");
        }

        context.Output.WriteLine(options.Destination);
    }

    sealed record Options(string Destination, CheckpointFormat Format, DType? Type, bool Overwrite, string? Tokenizer, string Rows, bool RunsModels, int? MaxShardSize)
    {
        public void Validate()
        {
            if (MaxShardSize is < 1)
            {
                throw new OpenElmException($"--max-shard-size is {MaxShardSize}; it must be at least 1 megabyte.");
            }

            if (MaxShardSize is not null && Format != CheckpointFormat.HuggingFace)
            {
                throw new OpenElmException($"--max-shard-size splits the weights of a Hugging Face folder; {Format} keeps them in one file.");
            }
        }
    }
}
