using System.Collections.Immutable;
using OpenElm.Adapters;
using OpenElm.Chat;
using OpenElm.Checkpoints;
using OpenElm.Configuration;
using OpenElm.Data;
using OpenElm.Tokenization;
using OpenElm.Training.Reporting;

namespace OpenElm.Training;

/// <summary>What a run of supervised tuning reads before it touches a tensor: architecture, tokenizer, template, examples.</summary>
internal sealed record FinetuneData
{
    /// <summary>The run, its number of updates included.</summary>
    public required FinetuneConfig Config { get; init; }

    /// <summary>The model folder to begin with.</summary>
    public required string ModelPath { get; init; }

    /// <summary>Its architecture.</summary>
    public required OpenElmConfig Model { get; init; }

    /// <summary>Its tokenizer.</summary>
    public required SentencePieceTokenizer Tokenizer { get; init; }

    /// <summary>Fingerprint of the frozen weights; null without an adapter.</summary>
    public required string? BaseWeights { get; init; }

    /// <summary>The modules with adapters; empty without.</summary>
    public required ImmutableArray<AdaptedModule> Adapted { get; init; }

    /// <summary>The text of <c>tokenizer_config.json</c> for the result, or null.</summary>
    public required string? TokenizerConfig { get; init; }

    /// <summary>The chat template; null for the template of openelm.md 8.3.</summary>
    public required ChatTemplate? Template { get; init; }

    /// <summary>Positions of the longest sequence.</summary>
    public required int SequenceLength { get; init; }

    /// <summary>What to learn from.</summary>
    public required ExampleSet Examples { get; init; }

    /// <summary>What to validate on, or null.</summary>
    public required ExampleSet? HeldOut { get; init; }

    /// <summary>Positions of the widest batch.</summary>
    public int WidestSequence => Config.Data.Batching == ExampleBatching.Packing ? SequenceLength : Examples.Examples.Max(example => example.Positions);

    /// <summary>Reads everything and counts the updates.</summary>
    /// <param name="run">The run.</param>
    /// <param name="baseDirectory">The folder that relative paths start from.</param>
    /// <param name="cancel">Ends the reading.</param>
    /// <exception cref="OpenElmException">The model folder, a file or a record is wrong.</exception>
    public static FinetuneData Read(FinetuneConfig run, string baseDirectory, CancellationToken cancel)
    {
        string folder = Path.GetFullPath(run.Model, Path.GetFullPath(baseDirectory));
        using var model = ModelFolder.Open(folder);
        SentencePieceTokenizer tokenizer = SentencePieceTokenizer.Load(
            model.TokenizerPath ?? throw new OpenElmException($"The model folder {folder} has no {ModelFolder.TokenizerFile}; put the model's own tokenizer there."));
        if (tokenizer.PieceCount > model.Config.VocabSize)
        {
            throw new OpenElmException($"The tokenizer of {folder} has {tokenizer.PieceCount} pieces, but the model only {model.Config.VocabSize} rows; they do not belong together.");
        }

        int length = run.Data.SequenceLength ?? model.Config.MaxContextLength;
        if (length > model.Config.MaxContextLength)
        {
            throw new OpenElmException($"data.sequence_length is {length}, but the model was trained up to {model.Config.MaxContextLength} (max_context_length); shorten the sequences.");
        }

        ChatTemplate? template = TemplateOf(run.Data, folder, baseDirectory);
        ExampleSet Examples(ExampleConfig config) => ExampleSet.Read(config, baseDirectory, tokenizer, template, length, cancel);
        ExampleSet examples = Examples(run.Data);
        return new FinetuneData
        {
            Config = run.WithSteps(run.Trainer.Steps > 0 ? run.Trainer.Steps : StepsOf(run, examples, length)),
            ModelPath = folder,
            Model = model.Config,
            Tokenizer = tokenizer,
            BaseWeights = run.Adapter is null ? null : WeightsFingerprint.Of(model),
            Adapted = run.Adapter?.Resolve(model.Config) ?? [],
            TokenizerConfig = template is null ? model.ReadTokenizerConfig() : TokenizerConfigJson.With(model.ReadTokenizerConfig(), template, tokenizer),
            Template = template,
            SequenceLength = length,
            Examples = examples,
            HeldOut = run.Validation is { } validation ? Examples(run.Data with { Files = validation.Files, MaxRecords = validation.MaxRecords }) : null,
        };
    }

    /// <summary>The stream of the training batches.</summary>
    /// <param name="start">Where to go on; null begins anew.</param>
    public ExampleStream OpenStream(ExamplePosition? start) => new(Examples, Config.Data, SequenceLength, Config.Trainer.MicroBatch, Config.Seed, start);

    /// <summary>What the run will need; its tokens and time are upper bounds, as if every batch were as wide as the widest.</summary>
    public TrainingPlan Plan() => TrainingPlan.Of(Model, Config.Trainer, WidestSequence, Adapted, BaseWeightFormat.Parse(Config.BaseWeights));

    /// <summary>A question as the model sees it, up to where the answer begins.</summary>
    /// <param name="question">The question.</param>
    /// <returns>[n] token ids.</returns>
    public int[] PromptOf(string question)
    {
        string bos = Tokenizer.BosId < 0 ? "" : Tokenizer.PieceOf(Tokenizer.BosId), eos = Tokenizer.EosId < 0 ? "" : Tokenizer.PieceOf(Tokenizer.EosId);
        string text = Template?.Render([new ChatMessage(ChatMessage.User, question)], addGenerationPrompt: true, bos, eos) ?? new InstructionRecord(question, "", "").Prompt;
        return Tokenizer.Encode(text, new TokenizerOptions
        {
            RecognizeSpecialPieces = Template is not null,
            AddBos = bos.Length > 0 && (Template is null || !text.StartsWith(bos, StringComparison.Ordinal)),
        });
    }

    /// <summary>What the report says about the data.</summary>
    public IEnumerable<ReportFact> Facts()
    {
        ExampleStatistics read = Examples.Statistics;
        long positions = Examples.Examples.Sum(example => (long)example.Positions), targets = Examples.Examples.Sum(example => (long)example.Targets);
        return
        [
            new("records read", $"{read.Records:n0}"), new("examples", $"{Examples.Examples.Length:n0}"),
            new("bad records skipped", $"{read.Bad:n0}"), new("too long and skipped", $"{read.TooLong:n0}"), new("truncated", $"{read.Truncated:n0}"),
            new("tokens of an epoch", $"{positions:n0}"), new("of them in the loss", $"{targets:n0}"),
            new("template", Template?.Name ?? Config.Data.TemplateName),
        ];
    }

    static int StepsOf(FinetuneConfig run, ExampleSet examples, int length)
    {
        using var stream = new ExampleStream(examples, run.Data, length, run.Trainer.MicroBatch, run.Seed);
        return (stream.BatchesOf(run.Data.Epochs) + run.Trainer.Accumulation - 1) / run.Trainer.Accumulation;
    }

    static ChatTemplate? TemplateOf(ExampleConfig data, string modelFolder, string baseDirectory)
    {
        switch (data.TemplateName)
        {
            case ExampleConfig.InstructionTemplate:
                return null;
            case ExampleConfig.ChatTemplate:
                return ChatTemplate.OfFolder(modelFolder) ?? ChatTemplate.Zephyr;
            case ExampleConfig.ZephyrTemplate:
                return ChatTemplate.Zephyr;
            default:
                string file = Path.GetFullPath(data.TemplateName, Path.GetFullPath(baseDirectory));
                return File.Exists(file)
                    ? ChatTemplate.Parse(File.ReadAllText(file), data.TemplateName)
                    : throw new OpenElmException($"data.template is {data.TemplateName}, which is no file; it must be instruction, chat, zephyr, or a file with a Jinja template.");
        }
    }
}
