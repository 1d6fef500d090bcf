using OpenElm.Data;
using OpenElm.Training;
using OpenElm.Training.Gpu;
using OpenElm.Training.Losses;
using OpenElm.Training.Optimization;
using TorchSharp;
using static TorchSharp.torch;

namespace OpenElm.Verification.Golden;

/// <summary>The hand-written pass over the model on a GPU, in single precision: losses, gradients and whole trajectories.</summary>
/// <param name="device"><c>cuda</c> or <c>cuda:N</c>.</param>
public sealed class GpuGoldenRuntime(string device) : IGoldenRuntime
{
    readonly ModuleOptions _options = new() { Device = device, Kernels = KernelChoice.Fused };

    /// <inheritdoc/>
    public string Name => $"fused ({device})";

    /// <inheritdoc/>
    public GoldenModelOutput? RunModel(GoldenModel model)
    {
        ArgumentNullException.ThrowIfNull(model);
        using OpenElmModule module = TrainingGoldenRuntime.CreateModule(model.Config, model.Weights, _options with { PaddingId = model.PaddingId });
        if (GpuUpdate.Refusal(module) is not null)
        {
            return null;
        }

        using DisposeScope scope = NewDisposeScope();
        (int sequences, int length) = ((int)model.InputIds.Shape[0], (int)model.InputIds.Shape[1]);
        int[] ids = [.. model.InputIds.Values.Select(id => (int)id)];
        Tensor logits;
        using (no_grad())
        {
            using Tensor input = tensor(model.InputIds.Values, [sequences, length], device: new Device(device));
            logits = module.call(input);
        }

        (GoldenLosses losses, Dictionary<string, float[]> gradients) = Pass(module, sequences, ids, NextTokens(ids, length), ignored: -1, model.ZLossFactor);
        int[] masked = new int[ids.Length];
        for (int row = 0; row < sequences; row++)
        {
            for (int i = 0; i < length; i++)
            {
                masked[(row * length) + i] = i == length - 1 ? model.PaddingId : (int)model.MaskedTargets.Values[(row * (length - 1)) + i];
            }
        }

        (GoldenLosses maskedLosses, _) = Pass(module, sequences, ids, masked, model.PaddingId, model.ZLossFactor);
        return new GoldenModelOutput(TrainingGoldenRuntime.Floats(logits)) { Losses = losses, MaskedLosses = maskedLosses, Gradients = gradients };
    }

    /// <inheritdoc/>
    public GoldenTrajectoryOutput? RunTrajectory(GoldenTrajectory training)
    {
        ArgumentNullException.ThrowIfNull(training);
        GoldenTrainingSettings settings = training.Settings;
        using OpenElmModule module = TrainingGoldenRuntime.CreateModule(training.Config, training.InitialWeights, _options);
        if (GpuUpdate.Refusal(module) is not null)
        {
            return null;
        }

        using var optimizer = new AdamW(module.Weights, new AdamWOptions { Beta1 = settings.Beta1, Beta2 = settings.Beta2, Eps = settings.Eps, WeightDecay = settings.WeightDecay });
        var schedule = new CosineSchedule(settings.MaxLr, settings.MinLr, settings.WarmupIterations, settings.MaxIterations, settings.WarmupInitLr);
        (int updates, int micros, int sequences, int length) = ((int)training.InputIds.Shape[0], (int)training.InputIds.Shape[1], (int)training.InputIds.Shape[2], (int)training.InputIds.Shape[3]);
        using var update = new GpuUpdate(module, optimizer, new LossOptions { IgnoreIndex = -1, ZLossFactor = settings.ZLossFactor }, sequences, length, new GpuPassOptions { Accumulates = micros > 1 });
        (double Gradient, double Measured)[] shares = [.. Enumerable.Repeat((1.0 / micros, 1.0 / micros), micros)];
        var steps = new List<GoldenStep>();
        for (int step = 0; step < updates; step++)
        {
            using DisposeScope scope = NewDisposeScope();
            TokenBatch[] batches = [.. Enumerable.Range(0, micros).Select(micro =>
            {
                int tokens = sequences * length, begin = ((step * micros) + micro) * tokens;
                int[] ids = [.. training.InputIds.Values.AsSpan(begin, tokens).ToArray().Select(id => (int)id)];
                return new TokenBatch(ids, NextTokens(ids, length), sequences, length, step, "golden");
            })];
            (System.Collections.Immutable.ImmutableArray<Tensor> measured, Tensor norm) = update.Make(batches, shares, schedule.LearningRate(step), settings.ClipGradNorm, step + 1);
            steps.Add(new GoldenStep(measured[0].item<float>(), measured[1].item<float>(), norm.item<float>(), schedule.LearningRate(step)));
        }

        return new GoldenTrajectoryOutput(steps, module.Weights.ToDictionary(weight => weight.Name, weight => TrainingGoldenRuntime.Floats(weight.Value)));
    }

    /// <inheritdoc/>
    public void Dispose()
    {
    }

    static (GoldenLosses Losses, Dictionary<string, float[]> Gradients) Pass(OpenElmModule module, int sequences, int[] ids, int[] targets, int ignored, double zLossFactor)
    {
        using var pass = new GpuPass(module, sequences, ids.Length / sequences, new LossOptions { IgnoreIndex = ignored, ZLossFactor = zLossFactor, ChunkRows = 24 }, new GpuPassOptions());
        pass.ClearLosses();
        pass.Run(ids, targets, positions: null, new MicroBatchShare(1, 1, Accumulate: false));
        using Tensor losses = pass.CopyLosses();
        float[] values = TrainingGoldenRuntime.Floats(losses);
        return (new GoldenLosses(values[0], values[1]), module.Weights.Zip(pass.Gradients).ToDictionary(pair => pair.First.Name, pair => TrainingGoldenRuntime.Floats(pair.Second.Tensor)));
    }

    // The last position of a sequence has no target.
    static int[] NextTokens(int[] ids, int length) => [.. ids.Select((_, i) => (i + 1) % length == 0 ? -1 : ids[i + 1])];
}
