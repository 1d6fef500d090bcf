using System.Collections.Immutable;
using System.Diagnostics;
using OpenElm.Configuration;
using OpenElm.Data;
using OpenElm.IO;
using OpenElm.Tokenization;
using OpenElm.Training.Reporting;
using OpenElm.Training.Torch;
using OpenElm.Yaml;
using TorchSharp;

namespace OpenElm.Training;

/// <summary>
/// One pre-training run from its configuration to a model folder: tokenizer, data, training with validation and checkpoints,
/// the average of the last checkpoints, comparison, samples. Stopped at any moment, it can be resumed.
/// </summary>
public sealed class PretrainRun : IDisposable
{
    readonly RunConfig _run;
    readonly PretrainOptions _options;
    readonly RunObservers _observer;
    readonly MetricsLog _metrics;
    readonly TensorBoardLog _tensorBoard;
    readonly RunFolder _folder;
    readonly string _identity;
    readonly Dictionary<string, string> _versions;
    readonly PhaseTimings _timings = new();
    readonly Stopwatch _training = new();
    readonly SentencePieceTokenizer _tokenizer;
    readonly OpenElmConfig _model;
    readonly Trainer _trainer;
    readonly BatchStream _data;
    readonly Validator? _validator;
    readonly double _flopsPerSecond;
    readonly TimeSpan _trainedBefore;
    readonly StepWindow _window;
    DataPosition _position; // where the next update begins: what a checkpoint holds
    ValidationResult? _validation;
    (double CrossEntropy, double ZLoss, double GradientNorm) _lastWindow;
    long _positionsTrained;

    /// <summary>Prepares everything up to the first update: files, tokenizer, model, and the checkpoint to go on from.</summary>
    /// <param name="run">The configuration.</param>
    /// <param name="options">How it is started.</param>
    /// <param name="observer">Sees what happens.</param>
    /// <param name="cancel">Ends the preparation.</param>
    /// <exception cref="OpenElmException">Something in the configuration, the files or the checkpoint is wrong.</exception>
    public PretrainRun(RunConfig run, PretrainOptions options, IRunObserver observer, CancellationToken cancel = default)
    {
        (_run, _options) = (run, options);
        _folder = new RunFolder(Path.GetFullPath(run.Output, Path.GetFullPath(options.BaseDirectory)));
        _ = TorchLibrary.Device(options.Device); // before anything is read or written
        (_identity, _versions) = (RunIdentity.Of(run), Versions());
        _model = run.Model.Resolve();
        RequireSequenceFits();
        RequireFiles();
        TrainingCheckpoint? checkpoint = FindCheckpoint(observer.OnMessage);
        TrainingState? state = checkpoint?.ReadState();
        if (state is null)
        {
            _folder.MakeRoom(options.Overwrite);
        }
        else
        {
            RunIdentity.RequireSame(state.Identity, _identity, checkpoint!.Path);
            _folder.DropNewer(state.Step, options.Overwrite);
        }

        _tokenizer = _timings.Measure("tokenizer", () => RunTokenizer.Find(run, options.BaseDirectory, save: true, observer.OnMessage, cancel));
        RunTokenizer.RequireRows(_model, _tokenizer);
        _trainer = new Trainer(run, _model, _tokenizer.PadId, options.Device);
        if (state is not null)
        {
            _trainer.Load(checkpoint!);
            _trainedBefore = TimeSpan.FromSeconds(state.TrainedSeconds);
            observer.OnMessage($"Resuming after update {state.Step} from {checkpoint!.Path}.");
        }

        _data = new BatchStream(run.Data, options.BaseDirectory, _tokenizer, run.Trainer.MicroBatch, state?.Data, onWarning: observer.OnMessage);
        _position = _data.Position;
        _validator = run.Validation is { } validation
            ? new Validator(HeldOut(validation.Sources, observer.OnMessage), validation.MaxBatches, _tokenizer.PadId)
            : null;
        _window = new StepWindow(readEveryStep: options.Device == "cpu");
        _flopsPerSecond = MatmulProbe.Measure(options.Device, run.Trainer.Precision);
        AtomicFile.WriteText(_folder.ConfigFile, StrictYaml.Write(run));
        _metrics = MetricsLog.Open(_folder.MetricsFile, _trainer.Step);
        _tensorBoard = new TensorBoardLog(_folder.TensorBoardFolder, options.Time);
        _observer = new RunObservers(observer, _metrics, _tensorBoard);
        Info = new RunInfo
        {
            Name = Path.GetFileName(_folder.Path),
            Folder = _folder.Path,
            TotalSteps = run.Trainer.Steps,
            StepsDone = _trainer.Step,
            Parameters = ParameterCount.Of(_model).Total,
            TokensPerStep = TrainingPlan.Of(run).TokensPerStep,
            Device = options.Device,
            Precision = run.Trainer.Precision.ToString().ToLowerInvariant(),
        };
        _observer.OnStart(Info);
    }

    /// <summary>What the run is about to do.</summary>
    public RunInfo Info { get; }

    /// <summary>Runs to the end, or to the wish to stop; then a checkpoint is saved first.</summary>
    /// <param name="cancel">The wish to stop.</param>
    /// <returns>The outcome.</returns>
    /// <exception cref="OperationCanceledException">The run was stopped; it can be resumed.</exception>
    /// <exception cref="OpenElmException">The loss is not finite, or data cannot be read.</exception>
    public PretrainResult Execute(CancellationToken cancel = default)
    {
        try
        {
            _timings.Measure("training and validation", () => TrainOrSave(cancel));
            PretrainResult result = new RunFinish(_run, _options, _observer, _folder, _tokenizer, _trainer, _validator, _timings).Finish(cancel) with
            {
                TrainingLoss = _lastWindow.CrossEntropy,
                ValidationLoss = _validation?.Loss,
                DataWaitShare = _training.Elapsed > TimeSpan.Zero ? _data.Statistics.Waited / _training.Elapsed : 0,
                TokensPerSecond = _training.Elapsed > TimeSpan.Zero ? _positionsTrained / _training.Elapsed.TotalSeconds : 0,
            };
            RunReports.Write(_folder, Info, _run, _data.Statistics, result, EndOf(RunOutcome.Completed, null), _options.Time);
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

    void End(RunOutcome outcome, string? message) => _observer.OnEnd(EndOf(outcome, message));

    RunEnd EndOf(RunOutcome outcome, string? message) => new(outcome, _trainer.Step, _trainedBefore + _training.Elapsed, message);

    /// <inheritdoc/>
    public void Dispose()
    {
        _window.Dispose();
        _tensorBoard.Dispose();
        _metrics.Dispose();
        _data.Dispose();
        _trainer.Dispose();
    }

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
        DataStatistics before = _data.Statistics;
        TimeSpan windowStart = TimeSpan.Zero;
        while (_trainer.Step < _run.Trainer.Steps)
        {
            cancel.ThrowIfCancellationRequested();
            _training.Start();
            StepResult update = _trainer.MakeUpdate(_data, cancel);
            _training.Stop();
            (string origin, double learningRate) = (update.Origin, update.LearningRate);
            if (_window.Add(update))
            {
                throw NotFinite(origin);
            }

            _position = _data.Position;
            long step = _trainer.Step;
            bool last = step == _run.Trainer.Steps;
            bool saves = step % _run.Checkpoints.Every == 0 || last;
            bool validates = _validator is not null && (step % _run.Validation!.Every == 0 || last || (saves && _run.Checkpoints.KeepBest > 0));
            if (step % _run.Trainer.LogEvery == 0 || saves || validates)
            {
                long positions = _window.Positions;
                ReadWindow(origin);
                _positionsTrained += positions;
                TimeSpan spent = _training.Elapsed - windowStart;
                DataStatistics now = _data.Statistics;
                _observer.OnStep(Metrics(learningRate, positions, spent, now.Waited - before.Waited));
                (before, windowStart) = (now, _training.Elapsed);
            }

            if (validates)
            {
                Validate(cancel);
            }

            if (saves)
            {
                Save(step % _run.Checkpoints.Every == 0, validates ? _validation!.Value.Loss : null);
            }
        }
    }

    // Nothing is saved or logged before the losses up to here are known to be finite.
    void ReadWindow(string origin)
    {
        if (_window.Read() is { } means)
        {
            _lastWindow = means;
            if (!double.IsFinite(means.CrossEntropy + means.ZLoss + means.GradientNorm))
            {
                throw NotFinite(origin);
            }
        }
    }

    StepMetrics Metrics(double learningRate, long positions, TimeSpan spent, TimeSpan waited)
    {
        double tokensPerSecond = positions / spent.TotalSeconds;
        long positionsLeft = (_run.Trainer.Steps - _trainer.Step) * _run.Trainer.MicroBatch * _run.Trainer.Accumulation * _run.Data.SequenceLength;
        return new StepMetrics
        {
            Step = _trainer.Step,
            TotalSteps = _run.Trainer.Steps,
            Loss = _lastWindow.CrossEntropy + _lastWindow.ZLoss,
            CrossEntropy = _lastWindow.CrossEntropy,
            ZLoss = _lastWindow.ZLoss,
            LearningRate = learningRate,
            GradientNorm = _lastWindow.GradientNorm,
            TokensPerSecond = tokensPerSecond,
            DataWaitShare = waited / spent,
            Utilisation = tokensPerSecond * TrainingPlan.FlopsOf(_model, _run.Data.SequenceLength) / _flopsPerSecond,
            TokensSeen = _trainer.TokensSeen,
            Elapsed = _trainedBefore + _training.Elapsed,
            TimeLeft = TimeSpan.FromSeconds(Math.Min(positionsLeft / tokensPerSecond, TimeSpan.MaxValue.TotalSeconds / 2)),
        };
    }

    void Validate(CancellationToken cancel)
    {
        long start = Stopwatch.GetTimestamp();
        _validation = _validator!.Run(_trainer.Model, cancel);
        _observer.OnValidation(_validation.Value.At(_trainer.Step, Stopwatch.GetElapsedTime(start)));
    }

    void Save(bool interval, double? validationLoss)
    {
        long start = Stopwatch.GetTimestamp();
        TrainingCheckpoint checkpoint = _trainer.Save(_folder.CheckpointFolder(_trainer.Step), _tokenizer.ModelBytes, new TrainingState
        {
            Format = TrainingState.CurrentFormat,
            Step = 0,
            TokensSeen = 0,
            TrainedSeconds = (_trainedBefore + _training.Elapsed).TotalSeconds,
            Data = _position,
            ValidationLoss = validationLoss,
            Interval = interval,
            Identity = _identity,
            Versions = _versions,
        });
        _folder.Prune(_run.Checkpoints);
        _observer.OnCheckpoint(new CheckpointSaved(_trainer.Step, checkpoint.Path, Stopwatch.GetElapsedTime(start)));
    }

    // Only between updates is the wish to stop obeyed, so weights and position belong together.
    void SaveBeforeStop()
    {
        _training.Stop();
        ReadWindow("a text since the last log line");
        if (!Directory.Exists(_folder.CheckpointFolder(_trainer.Step)) && _trainer.Step > 0)
        {
            Save(interval: false, validationLoss: null);
        }

        _observer.OnMessage($"Stopped after update {_trainer.Step}; go on with --resume auto.");
    }

    OpenElmException NotFinite(string origin)
    {
        string lastGood = _folder.LastGood(_observer.OnMessage) is { } checkpoint ? $"the last good checkpoint is {checkpoint.Path}" : "no checkpoint was saved yet";
        return new OpenElmException(
            $"The loss or the gradient is not a finite number at update {_trainer.Step}, whose batch begins at {origin}; {lastGood}. Lower schedule.max_learning_rate, lengthen the warm-up, or look at that text.");
    }

    TrainingCheckpoint? FindCheckpoint(Action<string> warn)
    {
        switch (_options.Resume)
        {
            case null:
                return null;
            case PretrainOptions.ResumeAuto:
                return _folder.LastGood(warn);
            default:
                var checkpoint = new TrainingCheckpoint(Path.GetFullPath(_options.Resume, Path.GetFullPath(_options.BaseDirectory)));
                return checkpoint.FindDamage() is not { } damage
                    ? checkpoint
                    : throw new OpenElmException($"The checkpoint {checkpoint.Path} cannot be resumed: {damage}.");
        }
    }

    void RequireSequenceFits()
    {
        if (_run.Data.SequenceLength > _model.MaxContextLength)
        {
            throw new OpenElmException(
                $"data.sequence_length is {_run.Data.SequenceLength}, but the model is trained up to max_context_length = {_model.MaxContextLength}; shorten the sequences or raise model.max_context_length.");
        }
    }

    // Before an earlier run makes room: a mistyped file name must not cost it.
    void RequireFiles()
    {
        void Require(ImmutableArray<DataSource> sources) =>
            _ = new CorpusTexts(_run.Data with { Sources = sources, PreparedDir = null }, _options.BaseDirectory);

        if (_run.Data.PreparedDir is null)
        {
            Require(_run.Data.Sources);
        }

        if (_run.Validation is { } validation)
        {
            Require(validation.Sources);
        }

        if (_run.Tokenizer.Path is { } path && !File.Exists(Path.GetFullPath(path, Path.GetFullPath(_options.BaseDirectory))))
        {
            throw new OpenElmException($"There is no tokenizer {path}; set tokenizer.path to a SentencePiece tokenizer.model.");
        }
    }

    HeldOutText HeldOut(ImmutableArray<DataSource> sources, Action<string> onWarning) =>
        new(_run.Data with { Sources = sources, PreparedDir = null }, _options.BaseDirectory, _tokenizer, _run.Trainer.MicroBatch, onWarning);

    static Dictionary<string, string> Versions() => new()
    {
        ["openelm"] = typeof(PretrainRun).Assembly.GetName().Version!.ToString(3),
        ["torchsharp"] = typeof(torch).Assembly.GetName().Version!.ToString(3),
        ["libtorch"] = TorchLibrary.Describe().Version,
        ["dotnet"] = Environment.Version.ToString(),
    };
}
