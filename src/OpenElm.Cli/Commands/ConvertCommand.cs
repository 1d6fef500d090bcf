using System.CommandLine;
using OpenElm.Checkpoints;
using OpenElm.Configuration;
using OpenElm.Tokenization;

namespace OpenElm.Cli.Commands;

/// <summary>Writes a model folder from another folder, a llama2.c checkpoint, or random weights.</summary>
internal static class ConvertCommand
{
    const string Keep = "keep", FromTokenizer = "tokenizer";

    static readonly Dictionary<string, DType> DTypes = new(StringComparer.OrdinalIgnoreCase) { ["fp32"] = DType.F32, ["bf16"] = DType.BF16, ["fp16"] = DType.F16 };

    public static Command Create(CommandContext context)
    {
        var source = new Argument<string?>("source") { Arity = ArgumentArity.ZeroOrOne, Description = "A model folder, or a llama2.c checkpoint (.bin)" };
        var output = new Option<string>("--output", "-o") { Description = "The model folder to write", Required = true };
        var overwrite = new Option<bool>("--overwrite") { Description = "Replace the output folder if it exists" };
        var tokenizer = new Option<string?>("--tokenizer") { Description = "A tokenizer.model to put beside the weights, or llama2.c's tokenizer (.bin)" };
        var dtype = new Option<string?>("--dtype") { Description = "Type of the weights; a folder's stay as they are without it" };
        dtype.AcceptOnlyFromAmong([.. DTypes.Keys]);
        var vocabRows = new Option<string>("--vocab-rows") { Description = "Rows of the vocabulary: keep, tokenizer (cut those behind its last piece), or a number", DefaultValueFactory = _ => Keep };
        var random = new Option<string?>("--random") { Description = $"Random weights for a config.json or a shipped model: {string.Join(", ", NamedConfigs.Names)}" };
        var seed = new Option<int>("--seed") { Description = "Seed of random weights" };
        var command = new Command("convert", "Write a model folder: import llama2.c, change the type of weights, cut padded rows, draw random weights")
        {
            source, output, overwrite, tokenizer, dtype, vocabRows, random, seed,
        };
        command.SetAction(parsed =>
        {
            DType? type = parsed.GetValue(dtype) is { } name ? DTypes[name] : null;
            string destination = parsed.GetRequiredValue(output);
            using Input input = (parsed.GetValue(source), parsed.GetValue(random)) switch
            {
                ({ } from, null) => Input.Read(from, type),
                (null, { } model) => new Input(RandomModel.Create(ModelSource.Find(model).Config, parsed.GetValue(seed), type ?? DType.F32), null),
                _ => throw new OpenElmException("Name a source (a model folder or a llama2.c checkpoint), or --random with a model; one of both."),
            };
            ModelContent content = WithTokenizer(input.Content, parsed.GetValue(tokenizer));
            content = WithRows(content, parsed.GetValue(vocabRows)!);
            ModelFolderWriter.Write(destination, content, parsed.GetValue(overwrite));
            IReadOnlyList<string> differences = OpenElmConfigJson.HuggingFaceDifferences(content.Config);
            foreach (string difference in differences)
            {
                context.Warn(difference);
            }

            Report(context, destination, content, differences);
        });
        return command.WithExamples(
            "openelm convert samples/stories260k/stories260K.bin --tokenizer samples/stories260k/tok512.bin --output stories",
            "openelm convert checkpoint --output checkpoint-bf16 --dtype bf16 --vocab-rows tokenizer",
            "openelm convert --random openelm-270m --seed 1 --output random-270m");
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

    static void Report(CommandContext context, string destination, ModelContent content, IReadOnlyList<string> differences)
    {
        long parameters = ParameterCount.Of(content.Config).Total, bytes = content.Weights.Sum(weight => weight.ByteCount);
        if (context.IsJson)
        {
            context.WriteJson(new
            {
                Output = destination,
                Parameters = parameters,
                Bytes = bytes,
                Dtype = content.Weights[0].DType.TorchName(),
                content.Config.VocabSize,
                HasTokenizer = content.Tokenizer is not null,
                HuggingFaceDifferences = differences,
            });
            return;
        }

        context.Log($"{parameters:N0} parameters, {Quantity.Bytes(bytes)} of weights ({content.Weights[0].DType.TorchName()}), {content.Config.VocabSize:N0} rows, {(content.Tokenizer is null ? "no tokenizer" : "with tokenizer")}");
        context.Output.WriteLine(destination);
    }

    /// <summary>A model to write; the folder it comes from stays open until then.</summary>
    sealed record Input(ModelContent Content, ModelFolder? Folder) : IDisposable
    {
        public static Input Read(string path, DType? type)
        {
            if (Directory.Exists(path))
            {
                ModelFolder folder = ModelFolder.Open(path);
                return new Input(type is { } wanted ? ModelConversion.Content(folder, wanted) : ModelConversion.Content(folder), folder);
            }

            return type is null or DType.F32
                ? new Input(Llama2cCheckpoint.Read(path), null)
                : throw new OpenElmException("A llama2.c checkpoint is imported as fp32; convert the folder again to change the type.");
        }

        public void Dispose() => Folder?.Dispose();
    }
}
