using OpenElm.Data;
using OpenElm.Training.Reporting;

namespace OpenElm.Training;

/// <summary>What a run of supervised tuning reads before it touches a tensor: model folder and examples.</summary>
internal sealed record FinetuneData : ITuningData<TokenBatch>
{
    /// <summary>The run, its number of updates included.</summary>
    public required FinetuneConfig Config { get; init; }

    /// <inheritdoc/>
    public required TuningModel Model { get; init; }

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
        TuningModel model = TuningModel.Read(run, run.Data.TemplateName, baseDirectory);
        int length = run.Data.SequenceLength ?? model.Config.MaxContextLength;
        model.RequireContext(length, "data.sequence_length");
        ExampleSet Examples(ExampleConfig config) => ExampleSet.Read(config, baseDirectory, model.Tokenizer, model.Template, length, cancel);
        ExampleSet examples = Examples(run.Data);
        int BatchesOf(int epochs)
        {
            using var stream = new ExampleStream(examples, run.Data, length, run.Trainer.MicroBatch, run.Seed);
            return stream.BatchesOf(epochs);
        }

        return new FinetuneData
        {
            Config = TuningSteps.Count(run, BatchesOf, (config, steps) => config with { Data = config.Data with { Epochs = 0 }, Trainer = config.Trainer with { Steps = steps } }),
            Model = model,
            SequenceLength = length,
            Examples = examples,
            HeldOut = run.Validation is { } validation ? Examples(run.Data with { Files = validation.Files, MaxRecords = validation.MaxRecords }) : null,
        };
    }

    ITuningConfig ITuningData<TokenBatch>.Config => Config;

    /// <inheritdoc/>
    public IBatchSource<TokenBatch> OpenStream(ExamplePosition? start) => new ExampleStream(Examples, Config.Data, SequenceLength, Config.Trainer.MicroBatch, Config.Seed, start);

    /// <inheritdoc/>
    public TrainingPlan Plan() => TrainingPlan.Of(Model.Config, Config.Trainer, WidestSequence, Model.Adapted, BaseWeightFormat.Parse(Config.BaseWeights));

    /// <inheritdoc/>
    public IEnumerable<ReportFact> Facts()
    {
        ExampleStatistics read = Examples.Statistics;
        long positions = Examples.Examples.Sum(example => (long)example.Positions), targets = Examples.Examples.Sum(example => (long)example.Targets);
        return
        [
            new("records read", $"{read.Records:n0}"), new("examples", $"{Examples.Examples.Length:n0}"),
            new("bad records skipped", $"{read.Bad:n0}"), new("too long and skipped", $"{read.TooLong:n0}"), new("truncated", $"{read.Truncated:n0}"),
            new("tokens of an epoch", $"{positions:n0}"), new("of them in the loss", $"{targets:n0}"),
            new("template", Model.Template?.Name ?? Config.Data.TemplateName),
        ];
    }
}
