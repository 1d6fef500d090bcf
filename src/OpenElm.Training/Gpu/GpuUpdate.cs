using System.Collections.Immutable;
using System.Runtime.InteropServices;
using OpenElm.Configuration;
using OpenElm.Cuda;
using OpenElm.Data;
using OpenElm.Training.Distributed;
using OpenElm.Training.Losses;
using OpenElm.Training.Optimization;
using OpenElm.Training.Torch;
using TorchSharp;
using static TorchSharp.torch;

namespace OpenElm.Training.Gpu;

/// <summary>One optimizer update of next-token training on the GPU with this project's own kernels: the fast path behind <see cref="Trainer{TBatch}"/>.</summary>
internal sealed class GpuUpdate : IDisposable
{
    readonly GpuPass _pass;
    readonly GpuAdamW _adamW;
    readonly LossOptions _loss;
    readonly int _vocab;
    readonly ShardedTraining? _training; // of a job's rank

    /// <param name="module">The model.</param>
    /// <param name="optimizer">Its optimizer, whose state is updated.</param>
    /// <param name="loss">What is minimised.</param>
    /// <param name="sequences">Sequences of a micro-batch.</param>
    /// <param name="sequenceLength">Tokens of a sequence.</param>
    /// <param name="options">How its passes are made.</param>
    public GpuUpdate(OpenElmModule module, AdamW optimizer, LossOptions loss, int sequences, int sequenceLength, GpuPassOptions options)
    {
        (_loss, _vocab) = (loss, module.Config.VocabSize);
        _pass = new GpuPass(module, sequences, sequenceLength, loss, options);
        _adamW = new GpuAdamW(optimizer, _pass.Gradients, _pass.Copies, _pass.Kernels, _pass.TorchDevice);
    }

    /// <summary>An update of several ranks.</summary>
    /// <param name="module">The model.</param>
    /// <param name="training">What this rank holds of weights, gradients and optimizer.</param>
    /// <param name="options">AdamW.</param>
    /// <param name="loss">What is minimised.</param>
    /// <param name="sequences">Sequences of this rank's part of a micro-batch.</param>
    /// <param name="sequenceLength">Tokens of a sequence.</param>
    /// <param name="how">How its passes are made; their gradients are in single precision, where the ranks exchange them.</param>
    public GpuUpdate(OpenElmModule module, ShardedTraining training, AdamWOptions options, LossOptions loss, int sequences, int sequenceLength, GpuPassOptions how)
    {
        (_loss, _vocab, _training) = (loss, module.Config.VocabSize, training);
        _pass = new GpuPass(module, sequences, sequenceLength, loss, how with { Accumulates = true, GradientBuffers = training.PlaceGradients() });
        training.ReleaseAll();
        _adamW = new GpuAdamW(training.GpuSlots(), options, _pass.Kernels, _pass.TorchDevice);
    }

    /// <summary>Allocates everything an update needs.</summary>
    /// <exception cref="OpenElmException">The GPU has too little memory.</exception>
    public static GpuUpdate Create(OpenElmModule module, AdamW optimizer, LossOptions loss, int sequences, int sequenceLength, GpuPassOptions options)
    {
        (OpenElmConfig config, ModuleOptions how) = (module.Config, module.Options);
        var needed = GpuMemory.Of(config, how.Precision, sequences, sequenceLength, options.Accumulates, how.ActivationCheckpointing, options.EightBits);
        (long used, long total) = CudaDevice.Memory;
        try
        {
            return new GpuUpdate(module, optimizer, loss, sequences, sequenceLength, options);
        }
        catch (ExternalException e) when (e.Message.Contains("out of memory", StringComparison.OrdinalIgnoreCase))
        {
            throw OutOfMemory(e);
        }
        catch (InvalidOperationException e) when (needed.TotalBytes - needed.WeightBytes - needed.OptimizerBytes > total - used) // an operator that says only that it failed
        {
            throw OutOfMemory(e);
        }

        OpenElmException OutOfMemory(Exception e) => new(GpuMemory.TooLarge(config, how, sequences, sequenceLength, options, total), e);
    }

    /// <summary>The pass over the model.</summary>
    public GpuPass Pass => _pass;

    /// <summary>Why a model cannot be trained this way.</summary>
    /// <param name="module">The model.</param>
    /// <returns>The reason in half a sentence; null if it can.</returns>
    public static string? Refusal(OpenElmModule module)
    {
        OpenElmConfig config = module.Config;
        if (module.Options.IsCpu)
        {
            return "they run on a GPU";
        }

        CudaLibraries.SearchBeside(TorchLibrary.Describe().Folder);
        return !CudaLibraries.AreAvailable(out string? missing) ? missing
            : module.Options.Deterministic && !Determinism.IsAvailable ? "this libtorch has no switch for deterministic operators"
            : !config.NormalizeQkProjections ? "the model does not normalise queries and keys"
            : !config.FfnWithGlu ? "the model's feed-forward network has no gate"
            : module.Adapters.Count > 0 || module.Trainable.Length != module.Weights.Length ? "only part of the model is trained"
            : null;
    }

    /// <summary>Whether a batch can be given to <see cref="Make"/>.</summary>
    public bool Takes(TokenBatch batch) => batch.Sequences == _pass.Sequences && batch.SequenceLength == _pass.SequenceLength;

    /// <summary>Makes one update; nothing waits for the GPU.</summary>
    /// <param name="batches">The micro-batches.</param>
    /// <param name="shares">How each enters the update.</param>
    /// <param name="learningRate">The learning rate.</param>
    /// <param name="maxNorm">The bound of the gradients' norm; infinity does not clip.</param>
    /// <param name="update">Its number, from 1.</param>
    /// <returns>[] each: cross entropy, z-loss, gradient norm; to be disposed.</returns>
    public (ImmutableArray<Tensor> Measured, Tensor Norm) Make(IReadOnlyList<TokenBatch> batches, IReadOnlyList<(double Gradient, double Measured)> shares, double learningRate, double maxNorm, long update)
    {
        _pass.ClearLosses();
        double constant = 0;
        for (int i = 0; i < batches.Count; i++)
        {
            constant += Run(batches[i], new MicroBatchShare(shares[i].Gradient, shares[i].Measured, Accumulate: i > 0));
        }

        _pass.EndUpdate();
        Tensor norm = _adamW.Step(learningRate, maxNorm, update);
        using DisposeScope scope = NewDisposeScope();
        using var noGrad = no_grad();
        Tensor losses = _pass.CopyLosses();
        return ([losses[0].MoveToOuterDisposeScope(), losses[1].Plus(Number(constant)).MoveToOuterDisposeScope()], norm);
    }

    /// <summary>Puts the passes of one micro-batch into the stream.</summary>
    /// <param name="batch">The micro-batch; of a job's rank, its part.</param>
    /// <param name="share">How it enters the update.</param>
    /// <returns>What the ignored targets add to the z-loss.</returns>
    public double Run(TokenBatch batch, MicroBatchShare share)
    {
        _pass.Run(batch.Inputs, batch.Targets, batch.Positions, share);
        return share.MeasuredShare * IgnoredZLoss(batch.Targets);
    }

    /// <summary>Ends an update of several ranks.</summary>
    /// <returns>[] the gradients' norm before clipping; to be disposed.</returns>
    public Tensor Finish(double learningRate, double maxNorm, long update)
    {
        _training!.FinishGradients();
        Tensor norm = _adamW.Step(learningRate, maxNorm, update, _training.SumSquares);
        _training.Publish();
        return norm;
    }

    public void Dispose()
    {
        _adamW.Dispose();
        _pass.Dispose();
    }

    // Without a valid target there is no mean: NaN, as on the other paths.
    double IgnoredZLoss(int[] targets)
    {
        int ignored = targets.AsSpan().Count((int)_loss.IgnoreIndex), valid = targets.Length - ignored;
        return valid == 0 ? double.NaN
            : _loss.CountIgnoredInZLoss ? ignored * _loss.ZLossFactor * Math.Pow(Math.Log(_vocab), 2) / valid
            : 0;
    }
}
