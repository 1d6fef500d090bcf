using OpenElm.Checkpoints;
using OpenElm.Configuration;
using OpenElm.Data;
using OpenElm.Training;
using OpenElm.Training.Gpu;
using OpenElm.Training.Objectives;
using OpenElm.Verification.Golden;
using static TorchSharp.torch;

namespace OpenElm.Verification.Gpu;

/// <summary>Whole updates on the GPU: loss curves of fused and reference kernels, repeated and resumed runs, updates of both paths in turn, numbers that are not finite.</summary>
public static class GpuRunSuite
{
    /// <summary>How far the loss of one update of a curve may be from the reference's.</summary>
    public const double CurveAllowance = 0.03;

    /// <summary>The same for the mean of the last hundred updates.</summary>
    public const double CurveMeanAllowance = 0.005;

    /// <summary>How far the loss of one update may be from that with products in bfloat16, if products read eight bits.</summary>
    public const double Fp8Allowance = 0.15;

    const string Kind = "runs";
    const int Vocab = 512, CurveUpdates = 300, CurveTail = 100, Fp8Updates = 1000, RepeatedUpdates = 8;

    /// <summary>Runs every check.</summary>
    /// <param name="device"><c>cuda</c> or <c>cuda:N</c>.</param>
    /// <returns>One result for each kind of run.</returns>
    public static IEnumerable<GoldenResult> Run(string device)
    {
        foreach (Precision precision in new[] { Precision.Bf16, Precision.Autocast })
        {
            yield return GoldenResult.Of($"curve-{precision}".ToLowerInvariant(), Kind, Curves(device, precision));
        }

        yield return GoldenResult.Of("curve-fp8", Kind, Fp8Curve(device));

        // The width and head size at which libraries choose other kernels than for toys.
        OpenElmConfig wide = NamedConfigs.Get("openelm-270m") with { NumTransformerLayers = 4, ModelDim = 1024, VocabSize = 4096 };
        yield return GoldenResult.Of("repeated", Kind, Repeated(device, wide, length: 512, deterministic: true, mustEqual: true));
        yield return GoldenResult.Of("repeated-cudnn", Kind, Repeated(device, wide, length: 512, deterministic: false, mustEqual: false));
        yield return GoldenResult.Of("both-paths", Kind, BothPaths(device));
        yield return GoldenResult.Of("not-finite", Kind, NotFinite(device));
    }

    static List<GoldenCheck> Curves(string device, Precision precision)
    {
        float[] Losses(KernelChoice kernels) => CurveOf(device, new TrainerConfig { Steps = CurveUpdates, Precision = precision, Kernels = kernels });

        (float[] reference, float[] fused) = (Losses(KernelChoice.Reference), Losses(KernelChoice.Fused));
        return
        [
            GoldenComparison.Compare("losses", reference, fused, GoldenMeasure.Absolute, CurveAllowance),
            GoldenComparison.Compare("mean of the last losses", reference.TakeLast(CurveTail).Average(), fused.TakeLast(CurveTail).Average(), GoldenMeasure.Absolute, CurveMeanAllowance),
            // The model must have learned for the curves to say anything.
            GoldenComparison.Compare("last loss below half of the first", 0, Math.Max(0, fused.TakeLast(CurveTail).Average() - (fused[0] / 2)), GoldenMeasure.Absolute, 0),
        ];
    }

    // Products in eight bits against those in bfloat16, long enough for a bias to show.
    static List<GoldenCheck> Fp8Curve(string device)
    {
        var how = new TrainerConfig { Steps = Fp8Updates, Precision = Precision.Bf16, Kernels = KernelChoice.Fused };
        (float[] expected, float[] actual) = (CurveOf(device, how), CurveOf(device, how with { Fp8Products = true }));
        return
        [
            GoldenComparison.Compare("losses", expected, actual, GoldenMeasure.Absolute, Fp8Allowance),
            GoldenComparison.Compare("mean of the last losses", expected.TakeLast(CurveTail).Average(), actual.TakeLast(CurveTail).Average(), GoldenMeasure.Absolute, CurveMeanAllowance),
        ];
    }

    static float[] CurveOf(string device, TrainerConfig how)
    {
        OpenElmConfig config = NamedConfigs.Get("openelm-270m") with { NumTransformerLayers = 4, ModelDim = 256, VocabSize = Vocab };
        var chain = new MarkovChain(Vocab, seed: 1);
        using Trainer<TokenBatch> trainer = TrainerOf(device, config, how);
        return [.. Enumerable.Range(0, how.Steps).Select(i => Update(trainer, chain.Batch(sequences: 8, length: 128, i)).Loss)];
    }

    // A run at one go, and one that is stopped and resumed half way.
    internal static List<GoldenCheck> Repeated(string device, OpenElmConfig config, int length, bool deterministic, bool mustEqual)
    {
        var how = new TrainerConfig { Steps = RepeatedUpdates, Precision = Precision.Bf16, Kernels = KernelChoice.Fused, Deterministic = deterministic };
        var chain = new MarkovChain(config.VocabSize, seed: 2);
        TokenBatch[] batches = [.. Enumerable.Range(0, RepeatedUpdates).Select(i => chain.Batch(sequences: 4, length, i))];
        string folder = Directory.CreateTempSubdirectory("openelm-verify").FullName;
        try
        {
            (float[] losses, TrainingCheckpoint whole) = Train(Path.Combine(folder, "whole"), from: null, batches);
            (float[] first, TrainingCheckpoint half) = Train(Path.Combine(folder, "half"), from: null, batches[..(RepeatedUpdates / 2)]);
            (float[] second, TrainingCheckpoint resumed) = Train(Path.Combine(folder, "resumed"), half, batches[(RepeatedUpdates / 2)..]);
            return mustEqual
                ? [
                    GoldenComparison.Compare("losses", losses, [.. first, .. second], GoldenMeasure.Absolute, 0),
                    .. WeightFiles(whole.Path).Append(whole.OptimizerFile).Select(file => SameBytes(file, Path.Combine(resumed.Path, Path.GetRelativePath(whole.Path, file)))),
                ]
                : [GoldenComparison.Compare("losses", losses, [.. first, .. second], GoldenMeasure.Relative, 1e-3)];
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }

        (float[] Losses, TrainingCheckpoint Saved) Train(string path, TrainingCheckpoint? from, TokenBatch[] part)
        {
            using Trainer<TokenBatch> trainer = TrainerOf(device, config, how);
            if (from is not null)
            {
                trainer.Load(from);
            }

            float[] losses = [.. part.Select(batch => Update(trainer, batch).Loss)];
            return (losses, trainer.Save(path, OutsideRun.State));
        }
    }

    // A batch of another shape goes the way of libtorch's kernels; the copies of weights that products read must follow.
    static List<GoldenCheck> BothPaths(string device)
    {
        OpenElmConfig config = NamedConfigs.Get("openelm-270m") with { NumTransformerLayers = 2, ModelDim = 256, VocabSize = Vocab };
        var chain = new MarkovChain(Vocab, seed: 3);
        using Trainer<TokenBatch> trainer = TrainerOf(device, config, new TrainerConfig { Steps = 3, Precision = Precision.Autocast, Kernels = KernelChoice.Fused });
        var checks = new List<GoldenCheck>();
        for (int update = 0; update < 3; update++)
        {
            _ = Update(trainer, chain.Batch(sequences: update == 1 ? 1 : 2, length: 64, update));
            foreach ((NamedWeight weight, DeviceBuffer? copy) in trainer.Model.Weights.Zip(trainer.Gpu!.Pass.RoundedWeights))
            {
                if (copy is not null)
                {
                    using Tensor rounded = weight.Value.detach().to_type(copy.Tensor.dtype);
                    checks.Add(GoldenComparison.Compare($"{weight.Name} after update {update + 1}", TrainingGoldenRuntime.Floats(rounded), TrainingGoldenRuntime.Floats(copy.Tensor), GoldenMeasure.Absolute, 0));
                }
            }
        }

        return checks;
    }

    // What the run's guard looks at must show that something is not finite.
    internal static List<GoldenCheck> NotFinite(string device)
    {
        OpenElmConfig config = NamedConfigs.Get("openelm-270m") with { NumTransformerLayers = 2, ModelDim = 256, VocabSize = Vocab };
        var chain = new MarkovChain(Vocab, seed: 4);
        using Trainer<TokenBatch> trainer = TrainerOf(device, config, new TrainerConfig { Steps = 2, Precision = Precision.Bf16, Kernels = KernelChoice.Fused });
        _ = Update(trainer, chain.Batch(sequences: 2, length: 64, 0));
        using (no_grad())
        using (Tensor row = trainer.Model.Weights.First(weight => weight.Name.Contains("proj_1", StringComparison.Ordinal)).Value.detach())
        {
            row.narrow(0, 0, 1).fill_(Number(float.NaN));
        }

        (float loss, float norm) = Update(trainer, chain.Batch(sequences: 2, length: 64, 1));
        return
        [
            GoldenComparison.Compare("loss", 1, float.IsNaN(loss) ? 1 : 0, GoldenMeasure.Absolute, 0),
            GoldenComparison.Compare("gradient norm", 1, float.IsNaN(norm) ? 1 : 0, GoldenMeasure.Absolute, 0),
        ];
    }

    static Trainer<TokenBatch> TrainerOf(string device, OpenElmConfig config, TrainerConfig trainer)
    {
        var run = new RunConfig
        {
            Output = "verification",
            Model = new ModelConfig(),
            Tokenizer = new TokenizerConfig(),
            Data = new DataConfig { Sources = [] },
            Schedule = new ScheduleConfig { MaxLearningRate = 2e-3, MinLearningRate = 2e-4, WarmupIterations = Math.Min(20, trainer.Steps / 4) },
            Trainer = trainer,
        };
        var module = new OpenElmModule(config, run.Trainer.ModuleOptions(device));
        module.Initialize(seed: 0);
        return new Trainer<TokenBatch>(run, module, new CausalLMObjective(run.Loss, TokenBatch.IgnoredTarget), new ModelFiles(new ModelContent(config, [])));
    }

    static (float Loss, float GradientNorm) Update(Trainer<TokenBatch> trainer, TokenBatch batch)
    {
        using StepResult step = trainer.MakeUpdate([batch]);
        return (step.Measured[0].item<float>(), step.GradientNorm.item<float>());
    }

    static IEnumerable<string> WeightFiles(string folder) => Directory.EnumerateFiles(folder, "*.safetensors", SearchOption.AllDirectories).Order(StringComparer.Ordinal);

    static GoldenCheck SameBytes(string expected, string actual)
    {
        (byte[] first, byte[] second) = (File.ReadAllBytes(expected), File.ReadAllBytes(actual));
        int different = first.Length == second.Length ? first.Zip(second).Count(pair => pair.First != pair.Second) : int.MaxValue;
        return GoldenComparison.Compare($"different bytes of {Path.GetFileName(expected)}", 0, different, GoldenMeasure.Absolute, 0);
    }
}
