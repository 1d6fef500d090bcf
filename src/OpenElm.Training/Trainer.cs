using System.Collections.Immutable;
using OpenElm.Checkpoints;
using OpenElm.Cuda;
using OpenElm.Data;
using OpenElm.Distributed;
using OpenElm.IO;
using OpenElm.Training.Adapters;
using OpenElm.Training.Distributed;
using OpenElm.Training.Gpu;
using OpenElm.Training.Losses;
using OpenElm.Training.Objectives;
using OpenElm.Training.Optimization;
using OpenElm.Training.Torch;
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
    readonly AdamW? _optimizer;        // of a process that is alone
    readonly ExponentialMovingAverage? _ema;
    readonly IProcessGroup? _group;    // else these
    readonly ShardedTraining? _sharded;
    readonly ShardedState? _state;
    readonly LossOptions? _gpuLoss; // null where the GPU's own kernels do not make the updates
    readonly AdamWOptions _options;
    GpuUpdate? _gpu; // made at the first update, when the shape of batches is known

    /// <summary>Puts an optimizer around a model whose weights are set.</summary>
    /// <param name="run">The run.</param>
    /// <param name="model">The model, taken over.</param>
    /// <param name="objective">What is minimised.</param>
    /// <param name="files">How weights are stored.</param>
    /// <param name="group">The ranks that train together; null for a process that is alone.</param>
    /// <param name="note">Told what a person should know about the exchanges between ranks.</param>
    /// <exception cref="OpenElmException">The configuration insists on fused kernels, and they cannot train this; or an update cannot be divided among the ranks.</exception>
    public Trainer(ITrainingConfig run, OpenElmModule model, ITrainingObjective<TBatch> objective, IWeightFiles files, IProcessGroup? group = null, Action<string>? note = null)
    {
        (_run, _objective, _files, Model, _group) = (run, objective, files, model, group);
        Share = RankShare.Of(group, run.Trainer);
        _schedule = run.Schedule.Over(run.Trainer.Steps);
        AdamWOptions options = _options = new AdamWOptions
        {
            Beta1 = run.Optimizer.Beta1,
            Beta2 = run.Optimizer.Beta2,
            Eps = run.Optimizer.Epsilon,
            WeightDecay = run.Optimizer.WeightDecay,
        };
        if (!model.Options.IsCpu && run.Trainer.Kernels is (KernelChoice.Fused or KernelChoice.Auto))
        {
            string? refusal = objective is CausalLMObjective ? GpuUpdate.Refusal(model) : "they train next tokens only";
            if (run.Trainer.Fp8Products && (refusal ?? GpuEightBits.Refusal(model.Config, new CudaDevice(Math.Max(0, TorchLibrary.Device(model.Options.Device).index)).ComputeCapability)) is { } reason)
            {
                throw new OpenElmException($"trainer.fp8_products cannot be had: {reason}. Leave it out.");
            }

            if (refusal is not null && run.Trainer.Deterministic)
            {
                throw NotDeterministic(refusal);
            }

            if (refusal is not null && run.Trainer.Kernels == KernelChoice.Fused)
            {
                throw new OpenElmException($"The fused kernels cannot make this run's updates: {refusal}. Choose trainer.kernels auto or torch.");
            }

            Slowdown = refusal is null ? null : $"Updates are made by libtorch's kernels, which are slower than this project's: {refusal}.";
            _gpuLoss = refusal is null ? (objective as CausalLMObjective)?.Loss : null;
        }
        else if (!model.Options.IsCpu && run.Trainer.Deterministic)
        {
            throw NotDeterministic("trainer.kernels chooses others");
        }
        else if (run.Trainer.Fp8Products)
        {
            throw new OpenElmException("trainer.fp8_products needs the fused kernels on a GPU; leave it out, or set trainer.kernels to fused and train with --device cuda.");
        }

        if (group is null)
        {
            _optimizer = new AdamW(Model.Trainable, options);
            _ema = run.Trainer.EmaMomentum > 0 ? new ExponentialMovingAverage(_optimizer.MasterWeights(), run.Trainer.EmaMomentum) : null;
            return;
        }

        if (run.Trainer.Fp8Products)
        {
            throw new OpenElmException("trainer.fp8_products is made for one device; leave it out, or train on one.");
        }

        bool hasCopies = _gpuLoss is not null && run.Trainer.Precision == Precision.Autocast;
        Sharding level = Sharding = run.Distributed.Sharding ?? (group.Size > 1 && !hasCopies ? Sharding.Optimizer : Sharding.None);
        if (hasCopies && level != Sharding.None)
        {
            (_gpuLoss, Slowdown) = (null, "Updates are made by libtorch's kernels, which are slower than this project's: they cannot divide weights that have rounded copies (trainer.precision autocast).");
        }

        if (level == Sharding.Parameters && _gpuLoss is null && !run.Trainer.ActivationCheckpointing)
        {
            throw new OpenElmException("distributed.sharding parameters needs trainer.activation_checkpointing here: autograd would keep the weights that the forward pass has used. Turn it on, or divide gradients only.");
        }

        _sharded = new ShardedTraining(group, Model, level, options, run.Trainer.EmaMomentum, TensorCollectives.For(group, TorchLibrary.Device(model.Options.Device), note ?? (_ => { })));
        _state = new ShardedState(group, _sharded);
    }

    /// <summary>This rank's part of every update.</summary>
    internal RankShare Share { get; }

    /// <summary>What is divided among the ranks.</summary>
    public Sharding Sharding { get; }

    /// <summary>The model in training.</summary>
    public OpenElmModule Model { get; }

    /// <summary>Why training on this GPU is slower than it could be; null if nothing is lost. Some reasons are known after the first update.</summary>
    public string? Slowdown { get; private set; }

    /// <summary>What is measured in each update.</summary>
    public ImmutableArray<Measurement> Measurements => _objective.Measurements;

    double MaxNorm => _run.Trainer.ClipGradNorm > 0 ? _run.Trainer.ClipGradNorm : double.PositiveInfinity;

    string[] TrainableNames => [.. Model.Trainable.Select(weight => weight.Name)];

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
        TBatch[] batches = [.. Enumerable.Range(0, Share.Passes).Select(_ => data.Next(_group is null ? cancel : default))];
        return MakeUpdate(batches);
    }

    /// <summary>Makes one update from given micro-batches.</summary>
    /// <param name="batches">The micro-batches; of a job's rank, those it takes part in, each whole.</param>
    /// <returns>What the update measured, still on the device.</returns>
    public StepResult MakeUpdate(IReadOnlyList<TBatch> batches)
    {
        ArgumentNullException.ThrowIfNull(batches);
        using DisposeScope scope = NewDisposeScope();
        if (_sharded is not null)
        {
            return MakeUpdateTogether(batches);
        }

        double learningRate = _schedule.LearningRate(Step);
        BatchSize[] sizes = [.. batches.Select(_objective.SizeOf)];
        int terms = sizes.Sum(size => size.Terms);
        double[] shares = [.. sizes.Select(size => _run.Trainer.AccumulationReduction == AccumulationReduction.TokenMean ? size.Terms / (double)terms : 1.0 / batches.Count)];
        if (GpuFor(batches) is { } gpu)
        {
            (ImmutableArray<Tensor> measured, Tensor gradientNorm) = gpu.Make(
                (IReadOnlyList<TokenBatch>)batches, [.. shares.Select(share => (_run.Trainer.AccumulationReduction == AccumulationReduction.Sum ? 1 : share, share))], learningRate, MaxNorm, Step + 1);
            return Count([.. measured.Select(mean => mean.MoveToOuterDisposeScope())], gradientNorm.MoveToOuterDisposeScope());
        }

        Tensor[] means = [.. Measurements.Select(_ => zeros([], device: device(Model.Options.Device)))];
        for (int i = 0; i < batches.Count; i++)
        {
            using DisposeScope microBatch = NewDisposeScope();
            Model.Adapters.Dropout = new DropoutKey(_run.Seed, Step, i);
            ObjectiveResult result = _objective.Compute(Model, batches[i]);
            double share = shares[i];
            BackwardPass.Run(_run.Trainer.AccumulationReduction == AccumulationReduction.Sum || share == 1 ? result.Loss : result.Loss * Number(share));
            for (int m = 0; m < means.Length; m++)
            {
                means[m].add_(result.Measured[m], alpha: Number(share));
            }
        }

        Model.Adapters.Dropout = null;
        Tensor norm = GradientClipping.ClipByGlobalNorm(Model.Trainable, MaxNorm);
        _optimizer!.LearningRate = learningRate;
        _optimizer.Step();
        _optimizer.ZeroGrad();
        _gpu?.Pass.RefreshCopies();
        return Count([.. means.Select(mean => mean.MoveToOuterDisposeScope())], norm.MoveToOuterDisposeScope());

        StepResult Count(ImmutableArray<Tensor> measured, Tensor norm)
        {
            _ema?.Update();
            Step++;
            TokensSeen += sizes.Sum(size => size.Targets);
            return new StepResult(Step, learningRate, measured, norm, sizes.Sum(size => size.Positions), sizes[0].Origin);
        }
    }

    // The same arithmetic, each rank with its part of the update's sequences.
    StepResult MakeUpdateTogether(IReadOnlyList<TBatch> batches)
    {
        double learningRate = _schedule.LearningRate(Step);
        TBatch[] parts = [.. batches.Select(batch => Share.Parts == 1 ? batch : _objective.PartOf(batch, Share.Part, Share.Parts))];
        BatchSize[] whole = [.. batches.Select(_objective.SizeOf)], own = [.. parts.Select(_objective.SizeOf)];
        long[] sums = _group!.Sum(own.Sum(size => (long)size.Terms), own.Sum(size => (long)size.Targets), own.Sum(size => (long)size.Positions));

        Tensor[] means = [.. Measurements.Select(_ => zeros([], device: device(Model.Options.Device)))];
        double constant = 0;
        _gpu?.Pass.ClearLosses();
        for (int i = 0; i < parts.Length; i++)
        {
            // A micro-batch's share of the update, and this part's share of the micro-batch: a mean over all of its terms.
            double share = _run.Trainer.AccumulationReduction == AccumulationReduction.TokenMean ? whole[i].Terms / (double)sums[0] : 1.0 / _run.Trainer.Accumulation;
            double part = Share.Parts == 1 ? 1 : own[i].Terms / (double)whole[i].Terms;
            GpuUpdate? gpu = part == 0 ? null : GpuFor([parts[i]]);
            _sharded!.BeginPass(isLast: i == parts.Length - 1, isDirect: gpu is not null);
            double gradientShare = (_run.Trainer.AccumulationReduction == AccumulationReduction.Sum ? 1 : share) * part;
            if (gpu is not null)
            {
                constant += gpu.Run((TokenBatch)(object)parts[i]!, new MicroBatchShare(gradientShare, share * part, Accumulate: i > 0 && !_sharded.DividesGradients));
            }
            else if (part != 0)
            {
                RequireWeights();
                using DisposeScope microBatch = NewDisposeScope();
                Model.Adapters.Dropout = new DropoutKey(_run.Seed, Step, (((i * Share.Slice.World) + Share.Slice.Rank) * Share.Parts) + Share.Part);
                ObjectiveResult result = _objective.Compute(Model, parts[i]);
                BackwardPass.Run(result.Loss * Number(gradientShare));
                for (int m = 0; m < means.Length; m++)
                {
                    means[m].add_(result.Measured[m], alpha: Number(share * part));
                }
            }

            _sharded.EndPass();
        }

        Model.Adapters.Dropout = null;
        Tensor norm;
        if (_gpu is null)
        {
            norm = _sharded!.Update(learningRate, MaxNorm);
        }
        else
        {
            norm = _gpu.Finish(learningRate, MaxNorm, Step + 1);
            using var noGrad = no_grad();
            Tensor losses = _gpu.Pass.CopyLosses();
            means[0].Add(losses[0]);
            means[1].Add(losses[1].Plus(Number(constant)));
        }

        Step++;
        TokensSeen += sums[1];
        return new StepResult(Step, learningRate, [.. means.Select(mean => mean.MoveToOuterDisposeScope())], norm.MoveToOuterDisposeScope(), (int)sums[2], own[0].Origin);
    }

    // Autograd keeps the weights that a forward pass has used, unless layers are computed again.
    void RequireWeights()
    {
        if (Sharding == Sharding.Parameters && !Model.Options.ActivationCheckpointing)
        {
            throw new OpenElmException("distributed.sharding parameters needs trainer.activation_checkpointing, because a batch has another shape than the fused kernels were made for; turn it on, or divide gradients only.");
        }
    }

    // Batches of another shape go the other way.
    GpuUpdate? GpuFor(IReadOnlyList<TBatch> batches)
    {
        if (_gpuLoss is null || batches is not IReadOnlyList<TokenBatch> tokens || tokens is not [var first, ..])
        {
            return null;
        }

        if (_gpu is null)
        {
            var options = GpuPassOptions.Of(_run.Trainer);
            _gpu = _sharded is null
                ? GpuUpdate.Create(Model, _optimizer!, _gpuLoss, first.Sequences, first.SequenceLength, options)
                : new GpuUpdate(Model, _sharded, _options, _gpuLoss, first.Sequences, first.SequenceLength, options);
            if (_sharded is not null)
            {
                _gpu.Pass.ClearLosses();
            }

            Slowdown = _gpu.Pass.RecordingRefusal is { } refusal ? $"The launches of an update are sent one by one, for which the GPU waits a little: {refusal}." : Slowdown;
        }

        return tokens.All(_gpu.Takes) ? _gpu
            : _run.Trainer.Deterministic ? throw NotDeterministic($"a batch has another shape than the first, {first.Sequences} x {first.SequenceLength}")
            : null;
    }

    static OpenElmException NotDeterministic(string reason) =>
        new($"trainer.deterministic needs the fused kernels for every update on a GPU: {reason}. Leave trainer.deterministic out, or train on the CPU, where runs always repeat bit for bit.");

    /// <summary>Saves everything that going on needs.</summary>
    /// <param name="folder">The checkpoint's folder.</param>
    /// <param name="state">The state around the loop; step and tokens are filled in.</param>
    /// <returns>The checkpoint.</returns>
    public TrainingCheckpoint Save(string folder, TrainingState state)
    {
        TrainingState complete = state with { Step = Step, TokensSeen = TokensSeen };
        if (_state is null)
        {
            return TrainingCheckpoint.Write(
                folder,
                path => _files.WriteInto(path, [.. _optimizer!.MasterWeights().Select(weight => WeightTransfer.ToSource(weight.Name, weight.Tensor))]),
                _optimizer!.ExportState(),
                _ema?.ToSources(),
                complete,
                StrictYaml.Write(_run));
        }

        _state.Write(() => TrainingCheckpoint.Write(
            folder,
            path => _files.WriteInto(path, _state.Weights(TrainableNames)),
            _state.Optimizer(TrainableNames, Step),
            _run.Trainer.EmaMomentum > 0 ? _state.MovingAverages(TrainableNames) : null,
            complete,
            StrictYaml.Write(_run)));
        return new TrainingCheckpoint(folder);
    }

    /// <summary>Goes back to a saved moment, exactly.</summary>
    /// <param name="checkpoint">The checkpoint.</param>
    /// <exception cref="OpenElmException">Its files are damaged or belong to another model.</exception>
    public void Load(TrainingCheckpoint checkpoint)
    {
        ArgumentNullException.ThrowIfNull(checkpoint);
        LoadWeights(checkpoint.Path);
        using SafetensorsFile optimizer = SafetensorsFile.Open(checkpoint.OptimizerFile);
        _optimizer?.ImportState(optimizer.Tensors);
        _state?.LoadOptimizer(optimizer.Tensors);
        if (_run.Trainer.EmaMomentum > 0)
        {
            using SafetensorsFile ema = SafetensorsFile.Open(checkpoint.EmaFile);
            _ema?.Load(ema.Tensors);
            _state?.LoadMovingAverage(ema.Tensors);
        }

        TrainingState state = checkpoint.ReadState();
        (Step, TokensSeen) = (state.Step, state.TokensSeen);
    }

    /// <summary>Sets the weights alone, for example to an average; training cannot go on from there.</summary>
    /// <param name="folder">A folder of weights as <see cref="Save"/> writes them.</param>
    /// <exception cref="OpenElmException">Its files are damaged or belong to another model.</exception>
    public void LoadWeights(string folder)
    {
        if (_state is null)
        {
            _files.Load(folder, Model);
        }
        else
        {
            _state.LoadWeights(() => _files.Load(folder, Model));
        }

        _gpu?.Pass.RefreshCopies();
    }

    /// <summary>Writes the moving average of the weights as a folder of its own, if the run keeps one.</summary>
    /// <param name="folder">The folder.</param>
    public void WriteMovingAverage(string folder)
    {
        if (_ema is not null)
        {
            AtomicFolder.Write(folder, path => _files.WriteInto(path, _ema.ToSources()), overwrite: true);
        }
        else if (_run.Trainer.EmaMomentum > 0)
        {
            _state!.Write(() => AtomicFolder.Write(folder, path => _files.WriteInto(path, _state.MovingAverages(TrainableNames)), overwrite: true));
        }
    }

    /// <summary>The fast path's internals, for measurements; null before the first update and on the other path.</summary>
    internal GpuUpdate? Gpu => _gpu;

    /// <inheritdoc/>
    public void Dispose()
    {
        _gpu?.Dispose();
        _ema?.Dispose();
        _optimizer?.Dispose();
        _sharded?.Dispose();
        Model.Dispose();
    }
}

/// <summary>What one update measured, on the device: reading a number waits for the device.</summary>
/// <param name="Step">Updates made.</param>
/// <param name="LearningRate">The learning rate of the update.</param>
/// <param name="Measured">[] each: means over the micro-batches of what the objective measures; of a job's rank, its part of them, so that all parts together are the mean.</param>
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
