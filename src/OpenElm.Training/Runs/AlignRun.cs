using OpenElm.Data;
using OpenElm.Distributed;
using OpenElm.Training.Objectives;
using OpenElm.Training.Reporting;
using OpenElm.Training.Torch;

namespace OpenElm.Training;

/// <summary>
/// One run of preference tuning, from a model folder and pairs of responses to a model or adapter folder: reference log-probabilities,
/// training with validation and checkpoints, answers to sample questions, report. Stopped at any moment, it can be resumed.
/// </summary>
public sealed class AlignRun : IDisposable
{
    static readonly TimeSpan TellEvery = TimeSpan.FromSeconds(10);

    readonly TrainingRun<PreferenceBatch> _run;

    /// <summary>Prepares everything up to the first update: model, pairs, what the reference model says of them, and the checkpoint to go on from.</summary>
    /// <param name="config">The configuration.</param>
    /// <param name="options">How it is started.</param>
    /// <param name="observer">Sees what happens.</param>
    /// <param name="cancel">Ends the preparation.</param>
    /// <exception cref="OpenElmException">Something in the configuration, the files, a record or the checkpoint is wrong.</exception>
    public AlignRun(AlignConfig config, RunOptions options, IRunObserver observer, CancellationToken cancel = default)
    {
        ArgumentNullException.ThrowIfNull(config);
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(observer);
        _ = TorchLibrary.Device(options.Device); // before anything is read or written
        observer = options.Group.IsFirst() ? observer : new RunObservers(); // the first rank speaks
        var timings = new PhaseTimings();
        AlignData data = timings.Measure("pairs", () => AlignData.Read(config, options.BaseDirectory, cancel));
        AlignConfig run = data.Config;
        string weights = data.Model.Fingerprint();
        var start = RunStart.Find(run, RunIdentity.Of(run, weights), options, observer.OnMessage);

        OpenElmModule module = data.Model.Load(run, options.Device);
        var cache = new ReferenceCache(Path.GetFullPath(run.ReferenceCache ?? Path.Combine(start.Folder.Path, "..", "reference"), Path.GetFullPath(options.BaseDirectory)));
        ReferenceLogProbabilities Reference(PreferenceSet set, string name) =>
            timings.Measure($"reference model, {name} pairs", () => ReferenceOf(cache, module, run, set, weights, name, observer.OnMessage, options.Time, cancel));

        // The first rank computes what the others then find in the cache.
        options.Group.OnFirstRank(() =>
        {
            foreach ((PreferenceSet? set, string name) in options.Group is null ? [] : new[] { (data.Pairs, "training"), (data.HeldOut, "held-out") })
            {
                _ = set is null ? null : Reference(set, name);
            }
        });
        ReferenceLogProbabilities reference = Reference(data.Pairs, "training");
        Validator<PreferenceBatch>? validator = data.HeldOut is { } heldOut
            ? new(new PreferenceObjective(run.Loss, Reference(heldOut, "held-out")), run.Validation!.Every,
                _ => PreferenceStream.Once(heldOut, run.Trainer.MicroBatch).Select(batch => new HeldOut<PreferenceBatch>(batch)), options.Group)
            : null;
        _run = TuningRun.Open(data, start, module, new PreferenceObjective(run.Loss, reference), validator, timings, options, observer);
    }

    /// <summary>What the run is about to do.</summary>
    public RunInfo Info => _run.Info;

    /// <summary>Says what a run will need; reads its pairs, for they decide the number of updates and the widest batch.</summary>
    /// <param name="config">The configuration.</param>
    /// <param name="baseDirectory">The folder that relative paths start from.</param>
    /// <param name="cancel">Ends the reading.</param>
    /// <returns>The plan; tokens and time are upper bounds, as if every batch were as wide as the widest, and leave the reference model out.</returns>
    /// <exception cref="OpenElmException">The model folder, a file or a record is wrong.</exception>
    public static TrainingPlan Plan(AlignConfig config, string baseDirectory, CancellationToken cancel = default)
    {
        ArgumentNullException.ThrowIfNull(config);
        return AlignData.Read(config, baseDirectory, cancel).Plan();
    }

    /// <summary>Runs to the end, or to the wish to stop; then a checkpoint is saved first.</summary>
    /// <param name="cancel">The wish to stop.</param>
    /// <returns>The outcome.</returns>
    /// <exception cref="OperationCanceledException">The run was stopped; it can be resumed.</exception>
    /// <exception cref="OpenElmException">The loss is not finite.</exception>
    public RunResult Execute(CancellationToken cancel = default) => _run.Execute(cancel);

    /// <inheritdoc/>
    public void Dispose() => _run.Dispose();

    // The module still holds the weights the run begins with, so it is the reference model.
    static ReferenceLogProbabilities ReferenceOf(
        ReferenceCache cache, OpenElmModule module, AlignConfig run, PreferenceSet set, string weights, string name, Action<string> log, TimeProvider time, CancellationToken cancel)
    {
        string key = ReferenceCache.KeyOf(weights, set.Fingerprint(), run);
        if (cache.Find(key, set.Pairs.Length, log) is { } known)
        {
            log($"The reference model's log-probabilities of {set.Pairs.Length:n0} {name} pairs are known from {cache.FileOf(key)}.");
            return known;
        }

        long told = time.GetTimestamp();
        log($"The reference model scores {set.Pairs.Length:n0} {name} pairs.");
        var reference = ReferenceLogProbabilities.Compute(module, set, run.Trainer.MicroBatch, done =>
        {
            if (time.GetElapsedTime(told) > TellEvery)
            {
                told = time.GetTimestamp();
                log($"The reference model has scored {done:n0} of {set.Pairs.Length:n0} pairs.");
            }
        }, cancel);
        cache.Store(key, reference);
        return reference;
    }
}
