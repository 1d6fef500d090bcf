using System.CommandLine;
using OpenElm.Configuration;

namespace OpenElm.Commands;

/// <summary>Prints what a model costs, what its files hold, or what this machine offers.</summary>
internal static class InfoCommand
{
    public static Command Create(CommandContext context) => Create(context, [], _ => MachineReport.Current().Write(context));

    /// <summary>Makes the verb of a program that knows more of the machine.</summary>
    /// <param name="context">Where to write.</param>
    /// <param name="options">More options.</param>
    /// <param name="describeMachine">What happens without a model.</param>
    /// <returns>The verb.</returns>
    public static Command Create(CommandContext context, IEnumerable<Option> options, Action<ParseResult> describeMachine)
    {
        var model = new Argument<string?>("model")
        {
            Arity = ArgumentArity.ZeroOrOne,
            Description = $"A model of any format (folder or file), a config.json, or a shipped model: {string.Join(", ", NamedConfigs.Names)}",
        };
        var environment = new Option<bool>("--environment") { Description = "Show the runtime, the processor and the libraries (also without a model)" };
        var vocabSize = new Option<int?>("--vocab-size") { Description = "Rows of the embedding instead of the model's own" };
        var batchSize = new Option<int>("--batch-size") { Description = "Sequences of a training micro-batch", DefaultValueFactory = _ => 1 };
        var sequenceLength = new Option<int?>("--sequence-length") { Description = "Tokens of a sequence instead of the model's context length" };
        var command = new Command("info", "Describe a model (widths, parameters, memory, files) or this machine")
        {
            model, environment, vocabSize, batchSize, sequenceLength,
        };
        foreach (Option option in options)
        {
            command.Options.Add(option);
        }

        command.SetAction(parsed =>
        {
            if (parsed.GetValue(model) is not { } name || parsed.GetValue(environment))
            {
                describeMachine(parsed);
                return;
            }

            ModelSource source = ModelSource.Find(name);
            OpenElmConfig config = source.Config;
            config = parsed.GetValue(vocabSize) is { } rows ? (config with { VocabSize = rows }).Validated() : config;
            int batch = parsed.GetValue(batchSize);
            int length = parsed.GetValue(sequenceLength) ?? config.MaxContextLength;
            if (batch < 1 || length < 1)
            {
                throw new OpenElmException($"--batch-size and --sequence-length must be 1 or more; they are {batch} and {length}.");
            }

            var report = new ModelReport(source.Name, batch, length, ModelInfo.Of(config, batch, length), source.Checkpoint);
            if (context.IsJson)
            {
                context.WriteJson(report.ToDocument(), CommandJson.Documents.ModelDocument);
            }
            else
            {
                report.WriteText(context.Output);
            }
        });
        return command.WithExamples(
            "openelm info openelm-270m",
            "openelm info openelm-3b --vocab-size 32128 --batch-size 4 --json",
            "openelm info runs/quickstart/average",
            "openelm info openelm-270m-q4.gguf",
            "openelm info --environment");
    }
}
