using System.Collections.Immutable;
using System.Diagnostics;
using System.Text.Json;
using OpenElm.Configuration;
using OpenElm.Data;
using OpenElm.Distributed;
using OpenElm.IO;
using OpenElm.Training.Objectives;
using OpenElm.Training.Reporting;
using OpenElm.Training.Torch;
using OpenElm.Yaml;
using TorchSharp;

namespace OpenElm.Training;

/// <summary>
/// The course of a run, whatever it trains: updates, logs, validation, checkpoints, and what follows the last update. Stopped at
/// any moment, it can be resumed.
/// </summary>
/// <typeparam name="TBatch">What one forward pass takes.</typeparam>
internal sealed class TrainingRun<TBatch> : IDisposable
{
    readonly RunParts<TBatch> _parts;
    readonly RunObservers _observer;
    readonly MetricsLog? _metrics;
    readonly TensorBoardLog? _tensorBoard;
    readonly Dictionary<string, string> _versions = Versions();
    readonly Stopwatch _training = new();
    readonly double _flopsPerSecond;
    readonly TimeSpan _trainedBefore;
    readonly StepWindow _window;
    IDataPosition _position; // where the next update begins: what a checkpoint holds
    ValidationResult? _validation;
    (double[] Measured, double GradientNorm) _lastWindow = ([], double.NaN);
    long _positionsTrained;

    /// <summary>Opens the logs and says what is about to happen.</summary>
    /// <param name="parts">What it is put together from; taken over.</param>
    /// <param name="observer">Sees what happens.</param>
    public TrainingRun(RunParts<TBatch> parts, IRunObserver observer)
    {
        _parts = parts;
        _position = parts.Data.Position;
        _trainedBefore = TimeSpan.FromSeconds(parts.Start.State?.TrainedSeconds ?? 0);
        _window = new StepWindow(readEveryStep: parts.Options.Device == "cpu", parts.Options.Group);
        _flopsPerSecond = MatmulProbe.Measure(parts.Options.Device, Loop.Precision) * (parts.Options.Group?.Size ?? 1);
        if (Group.IsFirst())
        {
            AtomicFile.WriteText(Folder.ConfigFile, StrictYaml.Write(parts.Config));
            _metrics = MetricsLog.Open(Folder.MetricsFile, Trainer.Step);
            _tensorBoard = new TensorBoardLog(Folder.TensorBoardFolder, parts.Options.Time);
            _observer = new RunObservers(observer, _metrics, _tensorBoard);
        }
        else
        {
            _observer = new RunObservers();
        }

        Info = new RunInfo
        {
            Name = Path.GetFileName(Folder.Path),
            Folder = Folder.Path,
            TotalSteps = Loop.Steps,
            StepsDone = Trainer.Step,
            Parameters = ParameterCount.Of(Trainer.Model.Config).Total,
            TokensPerStep = parts.TokensPerStep,
            Watched = [.. Trainer.Measurements.Where(measurement => measurement.IsWatched).Select(measurement => measurement.Name)],
            Device = parts.Options.Group is { Size: var ranks } ? $"{ranks} x {parts.Options.Device.Split(':')[0]}" : parts.Options.Device,
            Precision = Loop.Precision.ToString().ToLowerInvariant(),
        };
        _observer.OnStart(Info);
        SaySlowdown(before: null);
    }

    /// <summary>What the run is about to do.</summary>
    public RunInfo Info { get; }

    IProcessGroup? Group => _parts.Options.Group;

    RunFolder Folder => _parts.Start.Folder;

    Trainer<TBatch> Trainer => _parts.Trainer;

    TrainerConfig Loop => _parts.Config.Trainer;

    CheckpointConfig Checkpoints => _parts.Config.Checkpoints;

    /// <summary>Runs to the end, or to the wish to stop; then a checkpoint is saved first.</summary>
    /// <param name="cancel">The wish to stop.</param>
    /// <returns>The outcome.</returns>
    /// <exception cref="OperationCanceledException">The run was stopped; it can be resumed.</exception>
    /// <exception cref="OpenElmException">The loss is not finite, or data cannot be read.</exception>
    public RunResult Execute(CancellationToken cancel)
    {
        try
        {
            _parts.Timings.Measure("training and validation", () => TrainOrSave(cancel));
            RunResult result = new RunFinish<TBatch>(_parts, _observer).Finish(cancel) with
            {
                TrainingLoss = _lastWindow.Measured is [var loss, ..] ? loss : double.NaN,
                ValidationLoss = _validation?.Loss,
                ValidationMeasured = _validation?.Measured.ToDictionary(value => value.Name, value => value.Value) ?? [],
                ValidationTerms = _validation?.Terms ?? 0,
                RewardAccuracy = RewardAccuracyOf(_validation),
                DataWaitShare = _training.Elapsed > TimeSpan.Zero ? _parts.Data.Waited / _training.Elapsed : 0,
                TokensPerSecond = _training.Elapsed > TimeSpan.Zero ? _positionsTrained / _training.Elapsed.TotalSeconds : 0,
            };
            if (Group.IsFirst())
            {
                RunReports.Write(_parts, Info, result, EndOf(RunOutcome.Completed, null));
            }

            End(RunOutcome.Completed, null);
            return result;
        }
        catch (OperationCanceledException)
        {
            End(RunOutcome.Stopped, "stopped by the user");
            throw;
        }
        catch (Exception e)
        {
            End(RunOutcome.Failed, e.Message);
            throw;
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _window.Dispose();
        _tensorBoard?.Dispose();
        _metrics?.Dispose();
        _parts.Data.Dispose();
        Trainer.Dispose();
    }

    void End(RunOutcome outcome, string? message) => _observer.OnEnd(EndOf(outcome, message));

    RunEnd EndOf(RunOutcome outcome, string? message) => new(outcome, Trainer.Step, _trainedBefore + _training.Elapsed, message);

    void TrainOrSave(CancellationToken cancel)
    {
        try
        {
            Train(cancel);
        }
        catch (OperationCanceledException)
        {
            SaveBeforeStop();
            throw;
        }
    }

    void Train(CancellationToken cancel)
    {
        TimeSpan waitedBefore = _parts.Data.Waited, windowStart = TimeSpan.Zero;
        while (Trainer.Step < Loop.Steps)
        {
            StopIfWanted(cancel);
            _training.Start();
            string? slowdown = Trainer.Slowdown;
            StepResult update = Trainer.MakeUpdate(_parts.Data, cancel);
            _training.Stop();
            SaySlowdown(before: slowdown);
            (string origin, double learningRate) = (update.Origin, update.LearningRate);
            if (_window.Add(update))
            {
                throw NotFinite(origin);
            }

            _position = _parts.Data.Position;
            long step = Trainer.Step;
            bool last = step == Loop.Steps;
            bool saves = step % Checkpoints.Every == 0 || last;
            bool validates = _parts.Validator is { } validator && (step % validator.Every == 0 || last || (saves && Checkpoints.KeepBest > 0));
            if (step % Loop.LogEvery == 0 || saves || validates)
            {
                (long positions, int updates) = (_window.Positions, _window.Updates);
                ReadWindow(origin);
                _positionsTrained += positions;
                TimeSpan spent = _training.Elapsed - windowStart, waited = _parts.Data.Waited;
                _observer.OnStep(Metrics(learningRate, positions, updates, spent, waited - waitedBefore));
                (waitedBefore, windowStart) = (waited, _training.Elapsed);
            }

            if (validates)
            {
                Validate(cancel);
            }

            if (saves)
            {
                Save(step % Checkpoints.Every == 0, validates ? _validation!.Loss : null);
            }
        }
    }

    // One rank that is told to stop stops all of them, between the same two updates.
    void StopIfWanted(CancellationToken cancel)
    {
        if (Group is null)
        {
            cancel.ThrowIfCancellationRequested();
        }
        else if (Group.Sum(cancel.IsCancellationRequested ? 1 : 0)[0] > 0)
        {
            throw new OperationCanceledException("Stopped on the wish of a rank.", cancel.IsCancellationRequested ? cancel : default);
        }
    }

    void SaySlowdown(string? before)
    {
        if (Trainer.Slowdown is { } slowdown && slowdown != before)
        {
            _observer.OnMessage(slowdown);
        }
    }

    // Nothing is saved or logged before the losses up to here are known to be finite.
    void ReadWindow(string origin)
    {
        if (_window.Read() is { } means)
        {
            _lastWindow = means;
            if (!double.IsFinite(means.Measured.Sum() + means.GradientNorm))
            {
                throw NotFinite(origin);
            }
        }
    }

    StepMetrics Metrics(double learningRate, long positions, int updates, TimeSpan spent, TimeSpan waited)
    {
        double tokensPerSecond = positions / spent.TotalSeconds;
        double secondsLeft = (Loop.Steps - Trainer.Step) * spent.TotalSeconds / updates;
        ImmutableArray<Measurement> measurements = Trainer.Measurements;
        return new StepMetrics
        {
            Step = Trainer.Step,
            TotalSteps = Loop.Steps,
            Loss = _lastWindow.Measured.Where((_, i) => measurements[i].IsPartOfLoss).Sum(),
            Measured = [.. measurements.Zip(_lastWindow.Measured, (measurement, value) => new MeasuredValue(measurement.Name, value))],
            LearningRate = learningRate,
            GradientNorm = _lastWindow.GradientNorm,
            TokensPerSecond = tokensPerSecond,
            DataWaitShare = waited / spent,
            Utilisation = tokensPerSecond * _parts.FlopsPerToken / _flopsPerSecond,
            TokensSeen = Trainer.TokensSeen,
            Elapsed = _trainedBefore + _training.Elapsed,
            TimeLeft = TimeSpan.FromSeconds(Math.Min(secondsLeft, TimeSpan.MaxValue.TotalSeconds / 2)),
        };
    }

    void Validate(CancellationToken cancel)
    {
        long start = Stopwatch.GetTimestamp();
        _validation = _parts.Validator!.Run(Trainer.Model, cancel);
        _observer.OnValidation(_validation.At(Trainer.Step, Stopwatch.GetElapsedTime(start)));
    }

    void Save(bool interval, double? validationLoss)
    {
        long start = Stopwatch.GetTimestamp();
        using JsonDocument position = JsonDocument.Parse(_parts.MergePositions is { } merge ? merge(_position) : _position.ToJson());
        TrainingCheckpoint checkpoint = Trainer.Save(Folder.CheckpointFolder(Trainer.Step), new TrainingState
        {
            Format = TrainingState.CurrentFormat,
            Step = 0,
            TokensSeen = 0,
            TrainedSeconds = (_trainedBefore + _training.Elapsed).TotalSeconds,
            Data = position.RootElement,
            ValidationLoss = validationLoss,
            Interval = interval,
            Identity = _parts.Start.Identity,
            Versions = _versions,
        });
        Group.OnFirstRank(() => Folder.Prune(Checkpoints));
        _observer.OnCheckpoint(new CheckpointSaved(Trainer.Step, checkpoint.Path, Stopwatch.GetElapsedTime(start)));
    }

    // Only between updates is the wish to stop obeyed, so weights and position belong together.
    void SaveBeforeStop()
    {
        _training.Stop();
        ReadWindow("a text since the last log line");
        bool isSaved = Directory.Exists(Folder.CheckpointFolder(Trainer.Step));
        if (!(Group?.Sum(isSaved ? 1 : 0)[0] > 0 || isSaved) && Trainer.Step > 0)
        {
            Save(interval: false, validationLoss: null);
        }

        _observer.OnMessage($"Stopped after update {Trainer.Step}; go on with --resume auto.");
    }

    static Proportion? RewardAccuracyOf(ValidationResult? validation) =>
        validation?.Measured.Where(value => value.Name == PreferenceObjective.RewardAccuracy).Select(value => (Proportion?)new Proportion(value.Value, validation.Terms)).FirstOrDefault();

    OpenElmException NotFinite(string origin)
    {
        string lastGood = Folder.LastGood(_observer.OnMessage) is { } checkpoint ? $"the last good checkpoint is {checkpoint.Path}" : "no checkpoint was saved yet";
        return new OpenElmException(
            $"The loss or the gradient is not a finite number at update {Trainer.Step}{_window.Culprits}, whose batch begins at {origin}; {lastGood}. Lower schedule.max_learning_rate, lengthen the warm-up, or look at that text.");
    }

    static Dictionary<string, string> Versions() => new()
    {
        ["openelm"] = typeof(TrainingCheckpoint).Assembly.GetName().Version!.ToString(3),
        ["torchsharp"] = typeof(torch).Assembly.GetName().Version!.ToString(3),
        ["libtorch"] = TorchLibrary.Describe().Version,
        ["dotnet"] = Environment.Version.ToString(),
    };
}
