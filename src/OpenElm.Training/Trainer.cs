using System.Collections.Immutable;
using OpenElm.Checkpoints;
using OpenElm.Data;
using OpenElm.IO;
using OpenElm.Training.Adapters;
using OpenElm.Training.Objectives;
using OpenElm.Training.Optimization;
using OpenElm.Yaml;
using TorchSharp;
using static TorchSharp.torch;

namespace OpenElm.Training;

/// <summary>
/// The training loop (openelm.md 4.5): micro-batches forward and backward, clip, AdamW, count one update. It owns the model and
/// the optimizer; what is minimised, where batches come from, what is shown and where checkpoints go is decided outside.
/// </summary>
/// <typeparam name="TBatch">What one forward pass takes.</typeparam>
public sealed class Trainer<TBatch> : IDisposable
{
    readonly ITrainingConfig _run;
    readonly ITrainingObjective<TBatch> _objective;
    readonly IWeightFiles _files;
    readonly CosineSchedule _schedule;
    readonly AdamW _optimizer;
    readonly ExponentialMovingAverage? _ema;

    /// <summary>Puts an optimizer around a model whose weights are set.</summary>
    /// <param name="run">The run.</param>
    /// <param name="model">The model, taken over.</param>
    /// <param name="objective">What is minimised.</param>
    /// <param name="files">How weights are stored.</param>
    public Trainer(ITrainingConfig run, OpenElmModule model, ITrainingObjective<TBatch> objective, IWeightFiles files)
    {
        (_run, _objective, _files, Model) = (run, objective, files, model);
        _schedule = run.Schedule.Over(run.Trainer.Steps);
        _optimizer = new AdamW(Model.Trainable, new AdamWOptions
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

    /// <summary>What is measured in each update.</summary>
    public ImmutableArray<Measurement> Measurements => _objective.Measurements;

    /// <summary>Optimizer updates made.</summary>
    public long Step { get; private set; }

    /// <summary>Targets trained on, padding excluded.</summary>
    public long TokensSeen { get; private set; }

    /// <summary>Makes one update.</summary>
    /// <param name="data">Gives the update's micro-batches.</param>
    /// <param name="cancel">Ends the wait for a batch; an update that has begun is finished.</param>
    /// <returns>What the update measured, still on the device.</returns>
    public StepResult MakeUpdate(IBatchSource<TBatch> data, CancellationToken cancel)
    {
        TBatch[] batches = [.. Enumerable.Range(0, _run.Trainer.Accumulation).Select(_ => data.Next(cancel))];
        return MakeUpdate(batches);
    }

    /// <summary>Makes one update from given micro-batches.</summary>
    /// <param name="batches">The micro-batches.</param>
    /// <returns>What the update measured, still on the device.</returns>
    public StepResult MakeUpdate(IReadOnlyList<TBatch> batches)
    {
        using DisposeScope scope = NewDisposeScope();
        double learningRate = _schedule.LearningRate(Step);
        BatchSize[] sizes = [.. batches.Select(_objective.SizeOf)];
        int terms = sizes.Sum(size => size.Terms);
        Tensor[] means = [.. Measurements.Select(_ => zeros([], device: device(Model.Options.Device)))];
        for (int i = 0; i < batches.Count; i++)
        {
            using DisposeScope microBatch = NewDisposeScope();
            Model.Adapters.Dropout = new DropoutKey(_run.Seed, Step, i);
            ObjectiveResult result = _objective.Compute(Model, batches[i]);
            double share = _run.Trainer.AccumulationReduction == AccumulationReduction.TokenMean ? sizes[i].Terms / (double)terms : 1.0 / batches.Count;
            using Scalar weight = share; // held, because TorchSharp frees a number that nobody holds even while libtorch reads it
            (_run.Trainer.AccumulationReduction == AccumulationReduction.Sum || share == 1 ? result.Loss : result.Loss.mul(weight)).backward();
            for (int m = 0; m < means.Length; m++)
            {
                means[m].add_(result.Measured[m], alpha: weight);
            }
        }

        Model.Adapters.Dropout = null;
        double maxNorm = _run.Trainer.ClipGradNorm > 0 ? _run.Trainer.ClipGradNorm : double.PositiveInfinity;
        Tensor norm = GradientClipping.ClipByGlobalNorm(Model.Trainable, maxNorm);
        _optimizer.LearningRate = learningRate;
        _optimizer.Step();
        _optimizer.ZeroGrad();
        _ema?.Update();

        Step++;
        TokensSeen += sizes.Sum(size => size.Targets);
        return new StepResult(
            Step, learningRate, [.. means.Select(mean => mean.MoveToOuterDisposeScope())], norm.MoveToOuterDisposeScope(), sizes.Sum(size => size.Positions), sizes[0].Origin);
    }

    /// <summary>Saves everything that going on needs.</summary>
    /// <param name="folder">The checkpoint's folder.</param>
    /// <param name="state">The state around the loop; step and tokens are filled in.</param>
    /// <returns>The checkpoint.</returns>
    public TrainingCheckpoint Save(string folder, TrainingState state) => TrainingCheckpoint.Write(
        folder,
        path => _files.WriteInto(path, [.. _optimizer.MasterWeights().Select(weight => WeightTransfer.ToSource(weight.Name, weight.Tensor))]),
        _optimizer.ExportState(),
        _ema?.ToSources(),
        state with { Step = Step, TokensSeen = TokensSeen },
        StrictYaml.Write(_run));

    /// <summary>Goes back to a saved moment, exactly.</summary>
    /// <param name="checkpoint">The checkpoint.</param>
    /// <exception cref="OpenElmException">Its files are damaged or belong to another model.</exception>
    public void Load(TrainingCheckpoint checkpoint)
    {
        LoadWeights(checkpoint.Path);
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

    /// <summary>Sets the weights alone, for example to an average; training cannot go on from there.</summary>
    /// <param name="folder">A folder of weights as <see cref="Save"/> writes them.</param>
    /// <exception cref="OpenElmException">Its files are damaged or belong to another model.</exception>
    public void LoadWeights(string folder) => _files.Load(folder, Model);

    /// <summary>Writes the moving average of the weights as a folder of its own, if the run keeps one.</summary>
    /// <param name="folder">The folder.</param>
    public void WriteMovingAverage(string folder)
    {
        if (_ema is not null)
        {
            AtomicFolder.Write(folder, path => _files.WriteInto(path, _ema.ToSources()), overwrite: true);
        }
    }

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
/// <param name="Measured">[] each: means over the micro-batches of what the objective measures.</param>
/// <param name="GradientNorm">[]: global L2 norm before clipping.</param>
/// <param name="Positions">Token positions computed, padding included.</param>
/// <param name="Origin">Where the update's first text lies.</param>
public sealed record StepResult(long Step, double LearningRate, ImmutableArray<Tensor> Measured, Tensor GradientNorm, int Positions, string Origin) : IDisposable
{
    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (Tensor mean in Measured)
        {
            mean.Dispose();
        }

        GradientNorm.Dispose();
    }
}
