using OpenElm.Data;
using OpenElm.Training.Reporting;

namespace OpenElm.Training;

/// <summary>What a run of preference tuning reads before it touches a tensor: model folder and pairs.</summary>
internal sealed record AlignData : ITuningData<PreferenceBatch>
{
    /// <summary>The run, its number of updates included.</summary>
    public required AlignConfig Config { get; init; }

    /// <inheritdoc/>
    public required TuningModel Model { get; init; }

    /// <summary>What to learn from.</summary>
    public required PreferenceSet Pairs { get; init; }

    /// <summary>What to validate on, or null.</summary>
    public required PreferenceSet? HeldOut { get; init; }

    /// <summary>Reads everything and counts the updates.</summary>
    /// <param name="run">The run.</param>
    /// <param name="baseDirectory">The folder that relative paths start from.</param>
    /// <param name="cancel">Ends the reading.</param>
    /// <exception cref="OpenElmException">The model folder, a file or a record is wrong.</exception>
    public static AlignData Read(AlignConfig run, string baseDirectory, CancellationToken cancel)
    {
        TuningModel model = TuningModel.Read(run, run.Data.TemplateName, baseDirectory);
        model.RequireContext(run.Data.MaxLength, "data.max_length");
        PreferenceSet Pairs(PreferenceConfig config) => PreferenceSet.Read(config, baseDirectory, model.Tokenizer, model.Template!, cancel);
        PreferenceSet pairs = Pairs(run.Data);
        int BatchesOf(int epochs)
        {
            using var stream = new PreferenceStream(pairs, run.Data, run.Trainer.MicroBatch, run.Seed);
            return stream.BatchesOf(epochs);
        }

        return new AlignData
        {
            Config = TuningSteps.Count(run, BatchesOf, (config, steps) => config with { Data = config.Data with { Epochs = 0 }, Trainer = config.Trainer with { Steps = steps } }),
            Model = model,
            Pairs = pairs,
            HeldOut = run.Validation is { } validation ? Pairs(run.Data with { Files = validation.Files, MaxRecords = validation.MaxRecords }) : null,
        };
    }

    ITuningConfig ITuningData<PreferenceBatch>.Config => Config;

    /// <inheritdoc/>
    public IBatchSource<PreferenceBatch> OpenStream(ExamplePosition? start) => new PreferenceStream(Pairs, Config.Data, Config.Trainer.MicroBatch, Config.Seed, start);

    /// <inheritdoc/>
    public TrainingPlan Plan()
    {
        int widest = Pairs.Pairs.Max(pair => pair.Prompt.Length + Math.Max(pair.Chosen.Length, pair.Rejected.Length)) - 1;
        return TrainingPlan.Of(Model.Config, Config.Trainer with { MicroBatch = 2 * Config.Trainer.MicroBatch }, widest, Model.Adapted, BaseWeightFormat.Parse(Config.BaseWeights));
    }

    /// <inheritdoc/>
    public IEnumerable<ReportFact> Facts()
    {
        PreferenceStatistics read = Pairs.Statistics;
        return
        [
            new("records read", $"{read.Records:n0}"), new("pairs", $"{Pairs.Pairs.Length:n0}"),
            new("bad records skipped", $"{read.Bad:n0}"), new("equal responses skipped", $"{read.Equal:n0}"), new("contaminated and removed", $"{read.Contaminated:n0}"),
            new("prompts truncated", $"{read.TruncatedPrompts:n0}"), new("responses truncated", $"{read.TruncatedResponses:n0}"),
            new("tokens of responses", $"{Pairs.Pairs.Sum(pair => (long)pair.Chosen.Length + pair.Rejected.Length):n0}"),
            new("template", Model.Template!.Name),
        ];
    }
}
