using System.Collections.Immutable;
using OpenElm.Configuration;
using OpenElm.Training;
using OpenElm.Training.Distributed;
using OpenElm.Training.Gpu;
using OpenElm.Training.Losses;
using OpenElm.Training.Torch;
using OpenElm.Verification.Golden;
using TorchSharp;
using static TorchSharp.torch;

namespace OpenElm.Verification.Gpu;

/// <summary>
/// The hand-written pass over three layers of the smallest size: losses and gradients against the reference kernels in single precision from the same weights, where
/// libtorch's own kernels in the same number formats say how large an error has to be; and its ways of being made against each other. Allowances are in docs/numerics.md.
/// </summary>
public static class GpuPassSuite
{
    /// <summary>How much larger than libtorch's own error ours may be.</summary>
    public const double ErrorRatio = 1.5;

    /// <summary>An error that is allowed even where libtorch's is smaller.</summary>
    public const double LeastAllowance = 2e-3;

    const string Kind = "passes";
    const int Sequences = 2, Length = 200, Ignored = 7;

    static readonly LossOptions Loss = new() { IgnoreIndex = Ignored, ZLossFactor = 1e-4 };

    /// <summary>Runs every check.</summary>
    /// <param name="device"><c>cuda</c> or <c>cuda:N</c>.</param>
    /// <returns>One result for each way.</returns>
    public static IEnumerable<GoldenResult> Run(string device)
    {
        OpenElmConfig config = NamedConfigs.Get("openelm-270m") with { NumTransformerLayers = 3, VocabSize = 1000 };
        foreach (Precision precision in new[] { Precision.Bf16, Precision.Autocast, Precision.Fp32 })
        {
            string name = precision.ToString().ToLowerInvariant();
            yield return GoldenResult.Of($"pass-{name}", Kind, AgainstReference(device, config, precision, Length, isPacked: false));
            yield return GoldenResult.Of($"packed-{name}", Kind, AgainstReference(device, config, precision, Length, isPacked: true));
            if (precision != Precision.Fp32)
            {
                yield return GoldenResult.Of($"joined-{name}", Kind, AgainstReference(device, config, precision, Length, isPacked: false, joinsSwiGlu: true));
            }
        }

        var options = new ModuleOptions { Device = device, Kernels = KernelChoice.Fused, Precision = Precision.Bf16, PaddingId = Ignored };
        ModuleOptions exact = options with { Deterministic = true };
        yield return GoldenResult.Of("checkpointed", Kind, AgainstEachOther(config, Length, exact, exact with { ActivationCheckpointing = true }, recorded: false, joinsSwiGlu: true, allowance: 0));
        yield return GoldenResult.Of("recorded", Kind, AgainstEachOther(config, Length, exact, exact, recorded: true, joinsSwiGlu: false, allowance: 0));
        yield return GoldenResult.Of("recorded-parts", Kind, AgainstEachOther(config, Length, exact, exact with { ActivationCheckpointing = true }, recorded: true, joinsSwiGlu: true, allowance: 0, isWatched: true));
        yield return GoldenResult.Of("recorded-cudnn", Kind, AgainstEachOther(config, Length, options, options with { ActivationCheckpointing = true }, recorded: true, joinsSwiGlu: false, allowance: 1e-2));
    }

    internal static List<GoldenCheck> AgainstReference(string device, OpenElmConfig config, Precision precision, int length, bool isPacked, bool? joinsSwiGlu = null)
    {
        int[]? positions = isPacked ? Packed(length) : null;
        var options = new ModuleOptions { Device = device, Kernels = KernelChoice.Fused, Precision = precision, PaddingId = Ignored };
        using OpenElmModule exact = Create(config, options with { Kernels = KernelChoice.Reference, Precision = Precision.Fp32 }), theirs = Create(config, options with { Kernels = KernelChoice.Torch }), ours = Create(config, options);
        using (no_grad())
        {
            foreach ((NamedWeight weight, NamedWeight rounded) in exact.Weights.Zip(ours.Weights))
            {
                weight.Value.copy_(rounded.Value); // the same rounded numbers
            }
        }

        (int[] ids, int[] targets) = Batch(config.VocabSize, length, seed: 5);
        Outcome expected = ByAutograd(exact, ids, targets, positions, length), torch = ByAutograd(theirs, ids, targets, positions, length), actual;
        using (var pass = new GpuPass(ours, Sequences, length, Loss, new GpuPassOptions { JoinsSwiGlu = joinsSwiGlu }))
        {
            pass.ClearLosses();
            pass.Run(ids, targets, positions, new MicroBatchShare(1, 1, Accumulate: false));
            actual = Outcome.Of(pass);
        }

        return [.. Names(ours).Select((name, i) => GoldenComparison.Compare(name, expected.Values[i], actual.Values[i], GoldenMeasure.Relative, precision == Precision.Fp32
            ? GpuKernelSuite.Fp32Allowance
            : Math.Max(LeastAllowance, ErrorRatio * GoldenComparison.Compare(name, expected.Values[i], torch.Values[i], GoldenMeasure.Relative, 0).RelativeError)))];
    }

    // Two batches, the second of which adds to the gradients of the first; twice, so that what the first round leaves does not matter.
    internal static List<GoldenCheck> AgainstEachOther(OpenElmConfig config, int length, ModuleOptions first, ModuleOptions second, bool recorded, bool joinsSwiGlu, double allowance, bool isWatched = false)
    {
        var plain = new GpuPassOptions { Accumulates = true, JoinsSwiGlu = joinsSwiGlu }; // said, because what timing chooses may be another way in the second pass
        Outcome expected = Twice(first, plain), actual = Twice(second, plain with { RecordsLaunches = recorded });
        using OpenElmModule module = Create(config, first);
        return [.. Names(module).Select((name, i) => GoldenComparison.Compare(name, expected.Values[i], actual.Values[i], GoldenMeasure.Relative, allowance))];

        Outcome Twice(ModuleOptions options, GpuPassOptions how)
        {
            using OpenElmModule module = Create(config, options);
            module.Watch = isWatched && how.RecordsLaunches ? new LayerOrder(config.NumTransformerLayers) : null;
            using var pass = new GpuPass(module, Sequences, length, Loss, how);
            if (how.RecordsLaunches && pass.RecordingRefusal is { } refusal)
            {
                throw new OpenElmException($"The launches of a pass are not recorded: {refusal}.");
            }

            for (int round = 0; round < 2; round++)
            {
                pass.ClearLosses();
                for (int i = 0; i < 2; i++)
                {
                    (int[] ids, int[] targets) = Batch(config.VocabSize, length, seed: i + 1);
                    pass.Run(ids, targets, positions: null, new MicroBatchShare(0.5, 0.5, Accumulate: i > 0));
                }
            }

            return Outcome.Of(pass);
        }
    }

    static OpenElmModule Create(OpenElmConfig config, ModuleOptions options)
    {
        var module = new OpenElmModule(config, options);
        module.Initialize(seed: 3);
        return module;
    }

    static Outcome ByAutograd(OpenElmModule module, int[] ids, int[] targets, int[]? positions, int length)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor On(int[] values) => tensor(values, [Sequences, length]).to(ScalarType.Int64, TorchLibrary.Device(module.Options.Device));

        LossResult loss = new CausalLMLoss(Loss).Compute(module, On(ids), On(targets), module.LayoutOf(positions, length));
        loss.Total.backward();
        return new([[loss.CrossEntropy.item<float>()], [loss.ZLoss.item<float>()], .. module.Weights.Select(weight => TrainingGoldenRuntime.Floats(weight.Value.grad!))]);
    }

    static IEnumerable<string> Names(OpenElmModule module) => ["cross entropy", "z-loss", .. module.Weights.Select(weight => weight.Name)];

    static (int[] Ids, int[] Targets) Batch(int vocab, int length, int seed)
    {
        var random = new Random(seed);
        int[] ids = [.. Enumerable.Range(0, Sequences * length).Select(_ => random.Next(vocab))];
        return (ids, [.. ids.Select(_ => random.Next(vocab))]);
    }

    // Records of several lengths; one fills its sequence.
    static int[] Packed(int length)
    {
        var random = new Random(11);
        int[] positions = [.. Enumerable.Range(0, Sequences * length).Select(at => at % length)];
        for (int at = 0; at < length;)
        {
            int end = Math.Min(length, at + random.Next(1, length / 2));
            for (int begin = at; at < end; at++)
            {
                positions[at] = at - begin;
            }
        }

        return positions;
    }

    sealed record Outcome(ImmutableArray<float[]> Values)
    {
        public static Outcome Of(GpuPass pass)
        {
            using Tensor losses = pass.CopyLosses();
            float[] means = TrainingGoldenRuntime.Floats(losses);
            return new([[means[0]], [means[1]], .. pass.Gradients.Select(gradient => TrainingGoldenRuntime.Floats(gradient.Tensor))]);
        }
    }

    // A pass in parts tells of every layer once, in order.
    sealed class LayerOrder(int layers) : ILayerWatch
    {
        int _calls;

        public void BeforeModel() => _calls = 0;

        public void BeforeForward(int layer) => Expect(2 * layer);

        public void AfterForward(int layer) => Expect((2 * layer) + 1);

        public void BeforeBackward(int layer) => Expect((4 * layers) - 2 - (2 * layer));

        public void AfterBackward(int layer) => Expect((4 * layers) - 1 - (2 * layer));

        void Expect(int call)
        {
            if (call != _calls++)
            {
                throw new OpenElmException($"A recorded pass made call {call} of its watch as number {_calls - 1}.");
            }
        }
    }
}
