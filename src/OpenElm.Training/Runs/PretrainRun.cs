using System.Collections.Immutable;
using OpenElm.Checkpoints;
using OpenElm.Configuration;
using OpenElm.Data;
using OpenElm.Distributed;
using OpenElm.Tokenization;
using OpenElm.Training.Distributed;
using OpenElm.Training.Objectives;
using OpenElm.Training.Reporting;
using OpenElm.Training.Torch;

namespace OpenElm.Training;

/// <summary>
/// One pre-training run from its configuration to a model folder: tokenizer, data, training with validation and checkpoints,
/// the average of the last checkpoints, comparison, samples. Stopped at any moment, it can be resumed.
/// </summary>
public sealed class PretrainRun : IDisposable
{
    readonly RunConfig _config;
    readonly RunOptions _options;
    readonly TrainingRun<TokenBatch> _run;

    /// <summary>Prepares everything up to the first update: files, tokenizer, model, and the checkpoint to go on from.</summary>
    /// <param name="run">The configuration.</param>
    /// <param name="options">How it is started.</param>
    /// <param name="observer">Sees what happens.</param>
    /// <param name="cancel">Ends the preparation.</param>
    /// <exception cref="OpenElmException">Something in the configuration, the files or the checkpoint is wrong.</exception>
    public PretrainRun(RunConfig run, RunOptions options, IRunObserver observer, CancellationToken cancel = default)
    {
        ArgumentNullException.ThrowIfNull(run);
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(observer);
        (_config, _options) = (run, options);
        Action<string> say = options.Group.IsFirst() ? observer.OnMessage : _ => { };
        _ = TorchLibrary.Device(options.Device); // before anything is read or written
        OpenElmConfig model = run.Model.Resolve();
        RequireSequenceFits(model);
        RequireFiles();
        var start = RunStart.Find(run, RunIdentity.Of(run), options, say);
        var timings = new PhaseTimings();
        SentencePieceTokenizer tokenizer = timings.Measure("tokenizer", () => TokenizerOf(say, cancel));
        RunTokenizer.RequireRows(model, tokenizer);

        var module = new OpenElmModule(model, run.Trainer.ModuleOptions(options.Device) with { PaddingId = tokenizer.PadId });
        module.Initialize(run.Seed);
        var trainer = new Trainer<TokenBatch>(run, module, new CausalLMObjective(run.Loss, tokenizer.PadId),
            new ModelFiles(new ModelContent(model, []) { Tokenizer = tokenizer.ModelBytes, MaxShardBytes = run.Checkpoints.MaxShardBytes }),
            options.Group, say);
        start.Restore(trainer, say);
        DataPosition? position = start.State is { } state ? DataPosition.FromJson(state.Data.GetRawText()) : null;
        var data = new BatchStream(run.Data, options.BaseDirectory, tokenizer, run.Trainer.MicroBatch, position, trainer.Share.Slice, observer.OnMessage);
        RankAgreement.Require(options.Group, run, data.Position.ToJson());
        HeldOutText? heldOut = run.Validation is { } validation ? TextOf(validation.Sources, tokenizer, say) : null;
        _run = new TrainingRun<TokenBatch>(new RunParts<TokenBatch>
        {
            Config = run,
            Options = options,
            Start = start,
            Trainer = trainer,
            Data = data,
            MergePositions = options.Group is { } group ? own => Merge(group, own) : null,
            Validator = heldOut is null ? null : new Validator<TokenBatch>(
                CausalLMObjective.CrossEntropyOnly(tokenizer.PadId), run.Validation!.Every,
                stop => Scored(heldOut, stop).Select(batch => new HeldOut<TokenBatch>(batch.Batch, batch.Bytes)), options.Group),
            BigramLoss = heldOut is not null && run.Validation!.BigramBaseline ? stop => BigramLoss(model, tokenizer, heldOut, stop) : null,
            EncodePrompt = prompt => tokenizer.Encode(prompt, new TokenizerOptions { AddBos = true }),
            TokensPerStep = TrainingPlan.Of(run).TokensPerStep,
            FlopsPerToken = TrainingPlan.FlopsOf(model, run.Data.SequenceLength),
            Timings = timings,
            DataFacts = () => FactsOf(data.Statistics),
            ModelFacts = RunReports.FactsOf(model),
        }, observer);
    }

    /// <summary>What the run is about to do.</summary>
    public RunInfo Info => _run.Info;

    /// <summary>Runs to the end, or to the wish to stop; then a checkpoint is saved first.</summary>
    /// <param name="cancel">The wish to stop.</param>
    /// <returns>The outcome.</returns>
    /// <exception cref="OperationCanceledException">The run was stopped; it can be resumed.</exception>
    /// <exception cref="OpenElmException">The loss is not finite, or data cannot be read.</exception>
    public RunResult Execute(CancellationToken cancel = default) => _run.Execute(cancel);

    /// <inheritdoc/>
    public void Dispose() => _run.Dispose();

    // One rank trains it, the others read it.
    SentencePieceTokenizer TokenizerOf(Action<string> say, CancellationToken cancel)
    {
        _options.Group.OnFirstRank(() => RunTokenizer.Find(_config, _options.BaseDirectory, save: true, say, cancel));
        return RunTokenizer.Find(_config, _options.BaseDirectory, save: _options.Group is null, say, cancel);
    }

    static string Merge(IProcessGroup group, IDataPosition own) => DataPosition.Merge([.. group.AllGather(own.ToJson()).Select(DataPosition.FromJson)]).ToJson();

    void RequireSequenceFits(OpenElmConfig model)
    {
        if (_config.Data.SequenceLength > model.MaxContextLength)
        {
            throw new OpenElmException(
                $"data.sequence_length is {_config.Data.SequenceLength}, but the model is trained up to max_context_length = {model.MaxContextLength}; shorten the sequences or raise model.max_context_length.");
        }
    }

    // Before an earlier run makes room: a mistyped file name must not cost it.
    void RequireFiles()
    {
        void Require(ImmutableArray<DataSource> sources) =>
            _ = new CorpusTexts(_config.Data with { Sources = sources, PreparedDir = null }, _options.BaseDirectory);

        if (_config.Data.PreparedDir is { } prepared)
        {
            _ = PreparedManifest.Load(Path.GetFullPath(prepared, Path.GetFullPath(_options.BaseDirectory)));
        }
        else
        {
            Require(_config.Data.Sources);
        }

        if (_config.Validation is { } validation)
        {
            Require(validation.Sources);
            if (validation.BigramBaseline && _config.Data.PreparedDir is not null)
            {
                RequireTextForBigrams(() => Require(_config.Data.Sources));
            }
        }

        if (_config.Tokenizer.Path is { } path && !File.Exists(Path.GetFullPath(path, Path.GetFullPath(_options.BaseDirectory))))
        {
            throw new OpenElmException($"There is no tokenizer {path}; set tokenizer.path to a SentencePiece tokenizer.model.");
        }
    }

    static void RequireTextForBigrams(Action require)
    {
        try
        {
            require();
        }
        catch (OpenElmException missing)
        {
            throw new OpenElmException($"validation.bigram_baseline counts the training text itself, not data.prepared_dir; set it to false, or bring the text. {missing.Message}", missing);
        }
    }

    HeldOutText TextOf(ImmutableArray<DataSource> sources, SentencePieceTokenizer tokenizer, Action<string>? onWarning = null) =>
        new(_config.Data with { Sources = sources, PreparedDir = null }, _options.BaseDirectory, tokenizer, _config.Trainer.MicroBatch, onWarning);

    IEnumerable<HeldOutBatch> Scored(HeldOutText text, CancellationToken cancel) =>
        _config.Validation is { MaxBatches: > 0 and var most } ? text.Read(cancel).Take(most) : text.Read(cancel);

    // Learnt from the token pairs that the model trains on, and measured on those it is validated on.
    double BigramLoss(OpenElmConfig model, SentencePieceTokenizer tokenizer, HeldOutText heldOut, CancellationToken cancel)
    {
        var bigram = new BigramModel(model.VocabSize);
        foreach (HeldOutBatch batch in TextOf(_config.Data.Sources, tokenizer).Read(cancel))
        {
            bigram.Learn(batch.Batch, tokenizer.PadId);
        }

        return bigram.Loss(Scored(heldOut, cancel).Select(batch => batch.Batch), tokenizer.PadId);
    }

    static IEnumerable<ReportFact> FactsOf(DataStatistics data) =>
    [
        new("documents read", $"{data.Documents:n0}"), new("characters read", $"{data.Characters:n0}"),
        new("tokens kept", $"{data.TokensKept:n0}"), new("tokens padded", $"{data.TokensPadded:n0}"), new("tokens dropped", $"{data.TokensDropped:n0}"),
        new("texts dropped by the filters", $"{data.TextsTooShort + data.TextsTooFewTokens:n0}"), new("bad records skipped", $"{data.BadRecords:n0}"),
    ];
}
