using OpenElm.Data;
using OpenElm.Training.Distributed;
using OpenElm.Training.Objectives;
using OpenElm.Training.Reporting;

namespace OpenElm.Training;

/// <summary>What a tuning run has read before it touches a tensor, whatever its batches hold.</summary>
/// <typeparam name="TBatch">What one forward pass takes.</typeparam>
internal interface ITuningData<out TBatch>
{
    /// <summary>The run, its number of updates included.</summary>
    ITuningConfig Config { get; }

    /// <summary>The model folder to begin with.</summary>
    TuningModel Model { get; }

    /// <summary>The stream of the training batches.</summary>
    /// <param name="start">Where to go on; null begins anew.</param>
    IBatchSource<TBatch> OpenStream(ExamplePosition? start);

    /// <summary>What the run will need; its tokens and time are upper bounds, as if every batch were as wide as the widest.</summary>
    TrainingPlan Plan();

    /// <summary>What the report says about the data.</summary>
    IEnumerable<ReportFact> Facts();
}

/// <summary>Puts the course of a tuning run together: adapter, trainer at its beginning or checkpoint, stream.</summary>
internal static class TuningRun
{
    /// <summary>Opens a run whose model has the weights of its folder.</summary>
    /// <typeparam name="TBatch">What one forward pass takes.</typeparam>
    /// <param name="data">What was read.</param>
    /// <param name="start">Where it begins.</param>
    /// <param name="module">The model; taken over.</param>
    /// <param name="objective">What is minimised.</param>
    /// <param name="validator">Held-out data, or null.</param>
    /// <param name="timings">How long the preparation took.</param>
    /// <param name="options">How it is started.</param>
    /// <param name="observer">Sees what happens.</param>
    public static TrainingRun<TBatch> Open<TBatch>(
        ITuningData<TBatch> data, RunStart start, OpenElmModule module, ITrainingObjective<TBatch> objective, Validator<TBatch>? validator, PhaseTimings timings, RunOptions options, IRunObserver observer)
    {
        (ITuningConfig run, TuningModel model) = (data.Config, data.Model);
        IWeightFiles files = model.Attach(module, run);
        long trained = module.Trainable.Sum(weight => weight.Value.numel());
        observer.OnMessage($"Training {trained:n0} of {model.Parameters:n0} parameters.");
        var trainer = new Trainer<TBatch>(run, module, objective, files, options.Group, observer.OnMessage);
        start.Restore(trainer, observer.OnMessage);
        TrainingPlan plan = data.Plan();
        IBatchSource<TBatch> all = data.OpenStream(start.State is { } state ? ExamplePosition.FromJson(state.Data.GetRawText()) : null);
        RankAgreement.Require(options.Group, run, all.Position.ToJson());
        IBatchSource<TBatch> stream = options.Group is null ? all : new SlicedBatches<TBatch>(all, trainer.Share.Slice);
        return new TrainingRun<TBatch>(new RunParts<TBatch>
        {
            Config = run,
            Options = options,
            Start = start,
            Trainer = trainer,
            Data = stream,
            Validator = validator,
            EncodePrompt = model.PromptOf,
            BaseModel = run.Adapter is null ? null : model.Path,
            TokensPerStep = plan.TokensPerStep,
            FlopsPerToken = plan.FlopsPerToken,
            Timings = timings,
            DataFacts = data.Facts,
            ModelFacts = [.. RunReports.FactsOf(model.Config), new("parameters trained", $"{trained:n0}")],
        }, observer);
    }
}
