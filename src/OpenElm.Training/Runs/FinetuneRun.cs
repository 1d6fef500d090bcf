using OpenElm.Data;
using OpenElm.Distributed;
using OpenElm.Training.Objectives;
using OpenElm.Training.Reporting;
using OpenElm.Training.Torch;

namespace OpenElm.Training;

/// <summary>
/// One run of supervised tuning, from a model folder and records to a model or adapter folder: examples, training with validation and
/// checkpoints, answers to sample questions, report. Stopped at any moment, it can be resumed.
/// </summary>
public sealed class FinetuneRun : IDisposable
{
    readonly TrainingRun<TokenBatch> _run;

    /// <summary>Prepares everything up to the first update: model, examples, and the checkpoint to go on from.</summary>
    /// <param name="config">The configuration.</param>
    /// <param name="options">How it is started.</param>
    /// <param name="observer">Sees what happens.</param>
    /// <param name="cancel">Ends the preparation.</param>
    /// <exception cref="OpenElmException">Something in the configuration, the files, a record or the checkpoint is wrong.</exception>
    public FinetuneRun(FinetuneConfig config, RunOptions options, IRunObserver observer, CancellationToken cancel = default)
    {
        ArgumentNullException.ThrowIfNull(config);
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(observer);
        _ = TorchLibrary.Device(options.Device); // before anything is read or written
        observer = options.Group.IsFirst() ? observer : new RunObservers(); // the first rank speaks
        var timings = new PhaseTimings();
        FinetuneData data = timings.Measure("examples", () => FinetuneData.Read(config, options.BaseDirectory, cancel));
        FinetuneConfig run = data.Config;
        var start = RunStart.Find(run, RunIdentity.Of(run, run.Adapter is null ? null : data.Model.Fingerprint()), options, observer.OnMessage);

        OpenElmModule module = data.Model.Load(run, options.Device);
        Validator<TokenBatch>? validator = data.HeldOut is { } heldOut
            ? new(CausalLMObjective.CrossEntropyOnly(TokenBatch.IgnoredTarget), run.Validation!.Every,
                _ => ExampleStream.Once(heldOut, run.Trainer.MicroBatch).Select(batch => new HeldOut<TokenBatch>(batch)), options.Group)
            : null;
        _run = TuningRun.Open(data, start, module, new CausalLMObjective(run.Loss, TokenBatch.IgnoredTarget), validator, timings, options, observer);
    }

    /// <summary>What the run is about to do.</summary>
    public RunInfo Info => _run.Info;

    /// <summary>Says what a run will need; reads its examples, for they decide the number of updates and the widest batch.</summary>
    /// <param name="config">The configuration.</param>
    /// <param name="baseDirectory">The folder that relative paths start from.</param>
    /// <param name="cancel">Ends the reading.</param>
    /// <returns>The plan; tokens and time are upper bounds, as if every batch were as wide as the widest.</returns>
    /// <exception cref="OpenElmException">The model folder, a file or a record is wrong.</exception>
    public static TrainingPlan Plan(FinetuneConfig config, string baseDirectory, CancellationToken cancel = default)
    {
        ArgumentNullException.ThrowIfNull(config);
        return FinetuneData.Read(config, baseDirectory, cancel).Plan();
    }

    /// <summary>Runs to the end, or to the wish to stop; then a checkpoint is saved first.</summary>
    /// <param name="cancel">The wish to stop.</param>
    /// <returns>The outcome.</returns>
    /// <exception cref="OperationCanceledException">The run was stopped; it can be resumed.</exception>
    /// <exception cref="OpenElmException">The loss is not finite.</exception>
    public RunResult Execute(CancellationToken cancel = default) => _run.Execute(cancel);

    /// <inheritdoc/>
    public void Dispose() => _run.Dispose();
}
