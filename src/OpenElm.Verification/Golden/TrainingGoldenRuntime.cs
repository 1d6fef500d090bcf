using System.Collections.Immutable;
using OpenElm.Adapters;
using OpenElm.Training;
using OpenElm.Training.Adapters;
using OpenElm.Training.Losses;
using OpenElm.Training.Optimization;
using OpenElm.Training.Torch;
using TorchSharp;
using static TorchSharp.torch;

namespace OpenElm.Verification.Golden;

/// <summary>The training module: logits, losses, gradients and whole trajectories; no samplers.</summary>
/// <param name="options">Device, kernels and checkpointing; the precision must be single, as the goldens are.</param>
public sealed class TrainingGoldenRuntime(ModuleOptions? options = null) : IGoldenRuntime
{
    readonly ModuleOptions _options = options ?? new ModuleOptions();

    /// <inheritdoc/>
    public string Name => $"training ({_options.Device})";

    /// <inheritdoc/>
    public GoldenModelOutput? RunModel(GoldenModel model)
    {
        ArgumentNullException.ThrowIfNull(model);
        using OpenElmModule module = Create(model.Config, model.Weights, model.PaddingId);
        using DisposeScope scope = NewDisposeScope();
        Tensor ids = Ids(model.InputIds.Values, model.InputIds.Shape);                       // [batch, seq]
        Tensor logits;
        using (no_grad())
        {
            logits = module.call(ids);
        }

        LossResult loss = Loss(module, ids, NextTokens(ids, ignored: -1), -1, model.ZLossFactor);
        BackwardPass.Run(loss.Total);
        var gradients = module.Weights.ToDictionary(weight => weight.Name, weight => Floats(weight.Value.grad!));
        Tensor masked = Ids(model.MaskedTargets.Values, model.MaskedTargets.Shape);          // [batch, seq − 1]
        Tensor padded = cat([masked, full([masked.size(0), 1], Number(model.PaddingId), ScalarType.Int64, masked.device)], 1);
        LossResult maskedLoss = Loss(module, ids, padded, model.PaddingId, model.ZLossFactor);
        return new GoldenModelOutput(Floats(logits)) { Losses = Losses(loss), MaskedLosses = Losses(maskedLoss), Gradients = gradients };
    }

    /// <inheritdoc/>
    public GoldenTrajectoryOutput? RunTrajectory(GoldenTrajectory training)
    {
        ArgumentNullException.ThrowIfNull(training);
        GoldenTrainingSettings settings = training.Settings;
        using OpenElmModule module = Create(training.Config, training.InitialWeights, paddingId: null);
        string[] decaying = [.. module.Weights.Where(weight => weight.Value.dim() >= 2).Select(weight => weight.Name)];
        if (!settings.Decay.SetEquals(decaying))
        {
            throw new OpenElmException($"The golden trajectory decays {string.Join(", ", settings.Decay.Order())}; this build decays {string.Join(", ", decaying.Order())}.");
        }

        using var optimizer = new AdamW(module.Weights, new AdamWOptions { Beta1 = settings.Beta1, Beta2 = settings.Beta2, Eps = settings.Eps, WeightDecay = settings.WeightDecay });
        var schedule = new CosineSchedule(settings.MaxLr, settings.MinLr, settings.WarmupIterations, settings.MaxIterations, settings.WarmupInitLr);
        using DisposeScope scope = NewDisposeScope();
        Tensor all = Ids(training.InputIds.Values, training.InputIds.Shape);                 // [steps, microBatches, batch, seq]
        var steps = new List<GoldenStep>();
        for (long step = 0; step < all.size(0); step++)
        {
            using DisposeScope update = NewDisposeScope();
            (double crossEntropy, double z, long microBatches) = (0, 0, all.size(1));
            for (long micro = 0; micro < microBatches; micro++)
            {
                Tensor ids = all[step, micro];
                LossResult loss = Loss(module, ids, NextTokens(ids, ignored: -1), -1, settings.ZLossFactor);
                BackwardPass.Run(loss.Total / Number(microBatches));
                crossEntropy += loss.CrossEntropy.item<float>() / microBatches;
                z += loss.ZLoss.item<float>() / microBatches;
            }

            Tensor norm = GradientClipping.ClipByGlobalNorm(module.Weights, settings.ClipGradNorm);
            optimizer.LearningRate = schedule.LearningRate(step);
            optimizer.Step();
            optimizer.ZeroGrad();
            steps.Add(new GoldenStep(crossEntropy, z, norm.item<float>(), optimizer.LearningRate));
        }

        return new GoldenTrajectoryOutput(steps, module.Weights.ToDictionary(weight => weight.Name, weight => Floats(weight.Value)));
    }

    /// <inheritdoc/>
    public GoldenAdapterOutput? RunAdapter(GoldenAdapter adapter)
    {
        ArgumentNullException.ThrowIfNull(adapter);
        TorchLibrary.EnsureLoaded();
        using DisposeScope scope = NewDisposeScope();
        ModuleOptions options = _options with { Precision = Precision.Fp32 };
        using var linear = new Projection(adapter.Inputs, adapter.Outputs, options);
        var module = new AdaptedModule(new AdaptableModule("linear", IsEmbedding: false, adapter.Inputs, adapter.Outputs)) { Rank = adapter.Rank, Alpha = adapter.Alpha, Dora = adapter.Magnitude is not null };
        using var layer = new LowRankLayer(new AdapterSettings("golden", IsTrainable: true), module, linear.Adapters.Matrix, options);
        linear.Adapters.Layers.Add(layer);
        linear.Weight!.requires_grad = false;
        using (no_grad())
        {
            linear.Weight!.copy_(Of(adapter.Base));
            layer.A.copy_(Of(adapter.A));
            layer.B.copy_(Of(adapter.B));
            layer.Magnitude?.copy_(Of(adapter.Magnitude!));
        }

        Tensor x = Of(adapter.X).requires_grad_(true), y = linear.call(x);                    // [tokens, out]
        y.backward([Of(adapter.OutputGradient)]);
        var gradients = new Dictionary<string, float[]> { ["x"] = Floats(x.grad!), ["A"] = Floats(layer.A.grad!), ["B"] = Floats(layer.B.grad!) };
        if (layer.Magnitude is { } magnitude)
        {
            gradients["magnitude"] = Floats(magnitude.grad!);
        }

        linear.Adapters.Merge("linear");
        return new GoldenAdapterOutput(Floats(y), Floats(linear.Adapters.Merged!)) { Gradients = gradients };

        Tensor Of(GoldenTensor values) => tensor(values.Values, [.. values.Shape], device: TorchLibrary.Device(_options.Device));
    }

    /// <inheritdoc/>
    public void Dispose()
    {
    }

    OpenElmModule Create(Configuration.OpenElmConfig config, ImmutableDictionary<string, GoldenTensor> weights, int? paddingId) =>
        CreateModule(config, weights, _options with { PaddingId = paddingId });

    internal static OpenElmModule CreateModule(Configuration.OpenElmConfig config, ImmutableDictionary<string, GoldenTensor> weights, ModuleOptions options)
    {
        var module = new OpenElmModule(config, options with { Precision = Precision.Fp32 });
        using var noGrad = no_grad();
        foreach ((string name, TorchSharp.Modules.Parameter weight) in module.Weights)
        {
            using Tensor values = tensor(weights[name].Values, [.. weights[name].Shape]);
            weight.copy_(values);
        }

        return module;
    }

    Tensor Ids(long[] values, ImmutableArray<long> shape) => tensor(values, [.. shape], device: TorchLibrary.Device(_options.Device));

    // The last position has no target.
    static Tensor NextTokens(Tensor ids, long ignored) =>
        cat([ids[TensorIndex.Colon, TensorIndex.Slice(1)], full([ids.size(0), 1], Number(ignored), ScalarType.Int64, ids.device)], 1);

    static LossResult Loss(OpenElmModule module, Tensor ids, Tensor targets, long ignored, double zLossFactor) =>
        new CausalLMLoss(new LossOptions { IgnoreIndex = ignored, ZLossFactor = zLossFactor }).Compute(module, ids, targets);

    static GoldenLosses Losses(LossResult loss) => new(loss.CrossEntropy.item<float>(), loss.ZLoss.item<float>());

    internal static unsafe float[] Floats(Tensor tensor)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor host = tensor.detach().cpu().to_type(ScalarType.Float32).contiguous();
        return new ReadOnlySpan<float>((void*)Dispatcher.DataPointer(host), checked((int)host.numel())).ToArray(); // the accessor's ToArray asks libtorch for every number
    }
}
