using OpenElm.Checkpoints;
using OpenElm.Configuration;
using OpenElm.Data;
using OpenElm.Training.Losses;
using OpenElm.Training.Optimization;
using OpenElm.Yaml;
using TorchSharp;
using static TorchSharp.torch;

namespace OpenElm.Training;

/// <summary>
/// The training loop (openelm.md 4.5): micro-batches forward and backward, clip, AdamW, count one update. It owns the model,
/// the optimizer and the position; where batches come from, what is shown and where checkpoints go is decided outside.
/// </summary>
public sealed class Trainer : IDisposable
{
    readonly RunConfig _run;
    readonly int _padId;
    readonly CosineSchedule _schedule;
    readonly CausalLMLoss _loss;
    readonly AdamW _optimizer;
    readonly ExponentialMovingAverage? _ema;

    /// <summary>Builds model and optimizer, with new weights from the run's seed.</summary>
    /// <param name="run">The run.</param>
    /// <param name="model">The architecture.</param>
    /// <param name="padId">The target id that the loss ignores.</param>
    /// <param name="device"><c>cpu</c>, <c>cuda</c> or <c>cuda:N</c>.</param>
    public Trainer(RunConfig run, OpenElmConfig model, int padId, string device)
    {
        _run = run;
        Model = new OpenElmModule(model, new ModuleOptions
        {
            Precision = run.Trainer.Precision,
            Kernels = run.Trainer.Kernels,
            ActivationCheckpointing = run.Trainer.ActivationCheckpointing,
            PaddingId = padId,
            Device = device,
        });
        Model.Initialize(run.Seed);
        _schedule = new CosineSchedule(
            run.Schedule.MaxLearningRate, run.Schedule.MinLearningRate, run.Schedule.WarmupIterations, run.LastIteration, run.Schedule.WarmupInitLearningRate);
        _padId = padId;
        _loss = new CausalLMLoss(new LossOptions
        {
            IgnoreIndex = padId,
            ZLossFactor = run.Loss.ZLoss,
            LabelSmoothing = run.Loss.LabelSmoothing,
            CountIgnoredInZLoss = run.Loss.CountPaddingInZLoss,
        });
        _optimizer = new AdamW(Model.Weights, new AdamWOptions
        {
            Beta1 = run.Optimizer.Beta1,
            Beta2 = run.Optimizer.Beta2,
            Eps = run.Optimizer.Epsilon,
            WeightDecay = run.Optimizer.WeightDecay,
        });
        _ema = run.Trainer.EmaMomentum > 0 ? new ExponentialMovingAverage(_optimizer.MasterWeights(), run.Trainer.EmaMomentum) : null;
    }

    /// <summary>The model in training.</summary>
    public OpenElmModule Model { get; }

    /// <summary>Optimizer updates made.</summary>
    public long Step { get; private set; }

    /// <summary>Targets trained on, padding excluded.</summary>
    public long TokensSeen { get; private set; }

    /// <summary>Makes one update.</summary>
    /// <param name="data">Gives the update's micro-batches.</param>
    /// <param name="cancel">Ends the wait for a batch; an update that has begun is finished.</param>
    /// <returns>What the update measured, still on the device.</returns>
    public StepResult MakeUpdate(BatchStream data, CancellationToken cancel)
    {
        TokenBatch[] batches = [.. Enumerable.Range(0, _run.Trainer.Accumulation).Select(_ => data.Next(cancel))];
        return MakeUpdate(batches);
    }

    /// <summary>Makes one update from given micro-batches.</summary>
    /// <param name="batches">The micro-batches.</param>
    /// <returns>What the update measured, still on the device.</returns>
    public StepResult MakeUpdate(IReadOnlyList<TokenBatch> batches)
    {
        using DisposeScope scope = NewDisposeScope();
        double learningRate = _schedule.LearningRate(Step);
        Tensor crossEntropy = zeros([], device: device(Model.Options.Device)), zLoss = zeros_like(crossEntropy);
        double share = 1.0 / batches.Count;
        foreach (TokenBatch batch in batches)
        {
            using DisposeScope microBatch = NewDisposeScope();
            (Tensor inputs, Tensor targets) = BatchTensors.Of(batch, Model.Options.Device);
            LossResult loss = _loss.Compute(Model, inputs, targets);
            (_run.Trainer.AccumulationReduction == AccumulationReduction.Mean && batches.Count > 1 ? loss.Total * share : loss.Total).backward();
            crossEntropy.add_(loss.CrossEntropy, alpha: share);
            zLoss.add_(loss.ZLoss, alpha: share);
        }

        double maxNorm = _run.Trainer.ClipGradNorm > 0 ? _run.Trainer.ClipGradNorm : double.PositiveInfinity;
        Tensor norm = GradientClipping.ClipByGlobalNorm(Model.Weights, maxNorm);
        _optimizer.LearningRate = learningRate;
        _optimizer.Step();
        _optimizer.ZeroGrad();
        _ema?.Update();

        Step++;
        int positions = batches.Sum(batch => batch.Targets.Length);
        TokensSeen += batches.Sum(batch => batch.Targets.Length - batch.Targets.AsSpan().Count(_padId));
        return new StepResult(Step, learningRate, crossEntropy.MoveToOuterDisposeScope(), zLoss.MoveToOuterDisposeScope(), norm.MoveToOuterDisposeScope(), positions, batches[0].Origin);
    }

    /// <summary>Saves everything that going on needs.</summary>
    /// <param name="folder">The checkpoint's folder.</param>
    /// <param name="tokenizer">The SentencePiece model to put beside the weights.</param>
    /// <param name="state">The state around the loop; step and tokens are filled in.</param>
    /// <returns>The checkpoint.</returns>
    public TrainingCheckpoint Save(string folder, ReadOnlyMemory<byte> tokenizer, TrainingState state) => TrainingCheckpoint.Write(
        folder,
        new ModelContent(Model.Config, [.. _optimizer.MasterWeights().Select(weight => WeightTransfer.ToSource(weight.Name, weight.Tensor))]) { Tokenizer = tokenizer, MaxShardBytes = _run.Checkpoints.MaxShardBytes },
        _optimizer.ExportState(),
        _ema?.ToSources(),
        state with { Step = Step, TokensSeen = TokensSeen },
        StrictYaml.Write(_run));

    /// <summary>Goes back to a saved moment, exactly.</summary>
    /// <param name="checkpoint">The checkpoint.</param>
    /// <exception cref="OpenElmException">Its files are damaged or belong to another model.</exception>
    public void Load(TrainingCheckpoint checkpoint)
    {
        using ModelFolder folder = ModelFolder.Open(checkpoint.Path);
        if (folder.Config != Model.Config)
        {
            throw new OpenElmException($"The checkpoint {checkpoint.Path} holds another architecture than the configuration; resume with the configuration it was made with.");
        }

        Model.Load(folder.Weights);
        using SafetensorsFile optimizer = SafetensorsFile.Open(checkpoint.OptimizerFile);
        _optimizer.ImportState(optimizer.Tensors);
        if (_ema is not null)
        {
            using SafetensorsFile ema = SafetensorsFile.Open(checkpoint.EmaFile);
            _ema.Load(ema.Tensors);
        }

        TrainingState state = checkpoint.ReadState();
        (Step, TokensSeen) = (state.Step, state.TokensSeen);
    }

    /// <summary>The moving average of the weights as a model, or null if the run keeps none.</summary>
    /// <param name="tokenizer">The SentencePiece model to put beside the weights.</param>
    /// <returns>What <see cref="ModelFolderWriter"/> writes.</returns>
    public ModelContent? MovingAverage(ReadOnlyMemory<byte> tokenizer) => _ema is null ? null : new ModelContent(Model.Config, _ema.ToSources()) { Tokenizer = tokenizer };

    /// <inheritdoc/>
    public void Dispose()
    {
        _ema?.Dispose();
        _optimizer.Dispose();
        Model.Dispose();
    }
}

/// <summary>What one update measured, on the device: reading a number waits for the device.</summary>
/// <param name="Step">Updates made.</param>
/// <param name="LearningRate">The learning rate of the update.</param>
/// <param name="CrossEntropy">[]: mean over the micro-batches, in nats a token.</param>
/// <param name="ZLoss">[]: the z-loss, likewise.</param>
/// <param name="GradientNorm">[]: global L2 norm before clipping.</param>
/// <param name="Positions">Token positions computed, padding included.</param>
/// <param name="Origin">Where the update's first text lies.</param>
public sealed record StepResult(long Step, double LearningRate, Tensor CrossEntropy, Tensor ZLoss, Tensor GradientNorm, int Positions, string Origin) : IDisposable
{
    /// <inheritdoc/>
    public void Dispose()
    {
        CrossEntropy.Dispose();
        ZLoss.Dispose();
        GradientNorm.Dispose();
    }
}
