using System.CommandLine;
using OpenElm.Checkpoints;
using OpenElm.Cli.Reports;
using OpenElm.Inference;
using OpenElm.Inference.Calibration;
using OpenElm.Inference.Scoring;
using OpenElm.Quantization;

namespace OpenElm.Cli.Commands;

/// <summary>Writes a model in fewer bits, and says what that costs.</summary>
internal static class QuantizeCommand
{
    public static Command Create(CommandContext context)
    {
        var arguments = new Arguments();
        Command command = arguments.CreateCommand();
        command.SetAction(parsed => Run(arguments.Read(parsed), context));
        return command.WithExamples(
            "openelm quantize checkpoint --format Q4_K_M --text held-out.txt",
            "openelm quantize checkpoint --format Q4_0 --calibrate train.txt --text held-out.txt --output small.gguf",
            "openelm quantize checkpoint --format MLX4 --group 32 --embeddings F16 --to mlx --json");
    }

    static void Run(Request request, CommandContext context)
    {
        using var source = Checkpoint.Open(request.Model);
        var plan = QuantizedModel.Create(source, request.Recipe); // refuses what does not fit before hours of calibration
        plan.RequireWritable(request.Output, request.Overwrite, request.To);
        if (plan.Tensors.FirstOrDefault(tensor => tensor.Source.IsBlocked()) is { } blocked)
        {
            context.Warn($"{request.Model} is quantised already ({blocked.Weight.Name} is {blocked.Source}); errors add up: quantise the original if there is one.");
        }

        Calibration? calibration = null;
        TextPredictions? before = null;
        if ((request.Calibrate ?? request.Text) is not null)
        {
            using TextModel model = Load(request.Model, request, context);
            calibration = request.Calibrate is { } calibrationText ? Calibrate(model, calibrationText, request, context) : null;
            before = request.Text is { } text ? Predict(model, text, request, context) : null;
        }

        long start = context.Time.GetTimestamp();
        QuantizedModel quantized = calibration is null ? plan : QuantizedModel.Create(source, request.Recipe, calibration.Importance, context.Cancellation);
        quantized.Write(request.Output, request.Overwrite, request.To);
        TimeSpan took = context.Time.GetElapsedTime(start);
        var report = new QuantizationReport(quantized, request.Output, took, calibration, before)
        {
            After = before is null ? null : Predict(request.Output, request, context),
            WithoutCalibration = before is null || calibration is null ? null : WithoutCalibration(plan, request, context),
        };
        report.Write(context);
    }

    // The gain of calibration can only be told by doing without: written beside the result, measured, deleted.
    static TextPredictions WithoutCalibration(QuantizedModel plan, Request request, CommandContext context)
    {
        string path = Path.Combine(Path.GetDirectoryName(Path.GetFullPath(request.Output))!, $".{Guid.NewGuid():N}-without-calibration{Path.GetExtension(request.Output)}");
        try
        {
            plan.Write(path, format: request.To);
            return Predict(path, request, context);
        }
        finally
        {
            if (Directory.Exists(path))
            {
                Directory.Delete(path, recursive: true);
            }

            File.Delete(path);
        }
    }

    static Calibration Calibrate(TextModel model, string path, Request request, CommandContext context)
    {
        int[] tokens = Tokens(model, path, request.Tokens, "Calibrating");
        context.Log($"calibrating on {tokens.Length:N0} tokens of {path}");
        Calibration calibration = ImportanceCollector.Collect(model.Model, tokens, cancellation: context.Cancellation);
        if (calibration.HalfOverflow is { } warning)
        {
            context.Warn(warning);
        }

        return calibration;
    }

    static TextPredictions Predict(string path, Request request, CommandContext context)
    {
        using TextModel model = Load(path, request, context);
        return Predict(model, request.Text!, request, context);
    }

    static TextPredictions Predict(TextModel model, string path, Request request, CommandContext context)
    {
        int[] tokens = Tokens(model, path, request.Tokens, "Measuring perplexity");
        context.Log($"measuring perplexity on {tokens.Length:N0} tokens of {path}");
        return new PerplexityMeter(model.Model, model.Tokenizer).Predict(tokens, context.Cancellation);
    }

    static int[] Tokens(TextModel model, string path, int? limit, string what)
    {
        if (!File.Exists(path))
        {
            throw new OpenElmException($"There is no file {path}.");
        }

        int[] tokens = model.RequireTokenizer(what).Encode(File.ReadAllText(path));
        return limit is { } count && count < tokens.Length ? tokens[..count] : tokens;
    }

    static TextModel Load(string path, Request request, CommandContext context) =>
        TextModel.Load(path, new InferenceOptions { Threads = request.Threads, Warn = context.Warn }, request.Tokenizer);

    /// <summary>What the user asked for.</summary>
    sealed record Request(string Model, QuantizationRecipe Recipe, string Output, bool Overwrite, CheckpointFormat? To, string? Calibrate, string? Text, int? Tokens, string? Tokenizer, int? Threads);

    /// <summary>The arguments and how they become a request.</summary>
    sealed class Arguments
    {
        static readonly Dictionary<string, CheckpointFormat> Formats = new()
        {
            ["gguf"] = CheckpointFormat.Gguf,
            ["hf"] = CheckpointFormat.HuggingFace,
            ["mlx"] = CheckpointFormat.Mlx,
            ["mlx-lm"] = CheckpointFormat.MlxLm,
        };

        readonly Argument<string> _model = new("model") { Description = "A model of any format" };
        readonly Option<string> _format = new("--format", "-f") { Description = $"One of {string.Join(", ", QuantizationRecipe.Names)}", Required = true };
        readonly Option<int?> _group = new("--group") { Description = "Weights that share a scale, for MLX4 and MLX8: 32 or 64 (default)" };
        readonly Option<string?> _to = new("--to") { Description = "Format to write instead of gguf, or mlx-lm for MLX4 and MLX8: mlx is Apple's example; hf goes with plain types" };
        readonly Option<string?> _output = new("--output", "-o") { Description = "The file or folder to write (default: MODEL-FORMAT.gguf, or the folder MODEL-FORMAT, here)" };
        readonly Option<string?> _embeddings = new("--embeddings") { Description = $"Type of the embedding, and of the head tied to it, instead of the format's own: {string.Join(", ", QuantizationRecipe.TypeNames)}" };
        readonly Option<string?> _head = new("--head") { Description = "Type of the head; of a tied one, the same as --embeddings" };
        readonly Option<string?> _calibrate = new("--calibrate") { Description = "A text like the model's later work: columns with large activations become more exact" };
        readonly Option<string?> _text = new("--text") { Description = "A held-out text: perplexity and agreement before and after are measured on it" };
        readonly Option<int?> _tokens = new("--tokens") { Description = "Use only the first so many tokens of each text" };
        readonly Option<string?> _tokenizer = new("--tokenizer") { Description = "A SentencePiece tokenizer.model instead of the model's own, for the texts" };
        readonly Option<int?> _threads = new("--threads") { Description = "Threads of the measurements instead of one a processor" };
        readonly Option<bool> _overwrite = new("--overwrite") { Description = "Replace the output if it exists" };

        public Command CreateCommand()
        {
            var command = new Command("quantize", "Store a model in fewer bits, as GGUF or for MLX, and say what that costs")
            {
                _model, _format, _group, _to, _output, _embeddings, _head, _calibrate, _text, _tokens, _tokenizer, _threads, _overwrite,
            };
            _format.CompletionSources.Add([.. QuantizationRecipe.Names]);
            _embeddings.CompletionSources.Add([.. QuantizationRecipe.TypeNames]);
            _head.CompletionSources.Add([.. QuantizationRecipe.TypeNames]);
            _to.AcceptOnlyFromAmong([.. Formats.Keys]);
            _tokens.Validators.Add(result =>
            {
                if (result.GetValueOrDefault<int?>() is < 1)
                {
                    result.AddError("--tokens must be 1 or more.");
                }
            });
            return command;
        }

        public Request Read(ParseResult parsed)
        {
            string model = parsed.GetRequiredValue(_model);
            QuantizationRecipe recipe = QuantizationRecipe.Parse(parsed.GetRequiredValue(_format), parsed.GetValue(_group)) with
            {
                Embeddings = parsed.GetValue(_embeddings) is { } embeddings ? QuantizationRecipe.ParseType(embeddings) : null,
                Head = parsed.GetValue(_head) is { } head ? QuantizationRecipe.ParseType(head) : null,
            };
            CheckpointFormat? to = parsed.GetValue(_to) is { } name ? Formats[name] : null;
            return new Request(
                model,
                recipe,
                parsed.GetValue(_output) ?? DefaultOutput(model, recipe, to),
                parsed.GetValue(_overwrite),
                to,
                parsed.GetValue(_calibrate),
                parsed.GetValue(_text),
                parsed.GetValue(_tokens),
                parsed.GetValue(_tokenizer),
                parsed.GetValue(_threads));
        }

        static string DefaultOutput(string model, QuantizationRecipe recipe, CheckpointFormat? to)
        {
            string name = Path.GetFileName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(model)));
            return $"{(File.Exists(model) ? Path.GetFileNameWithoutExtension(name) : name)}-{recipe.Name}{(to is CheckpointFormat.Gguf || (to is null && !recipe.IsMlx) ? ".gguf" : "")}";
        }
    }
}
