using OpenElm.Configuration;
using OpenElm.Cuda;
using OpenElm.Training;
using OpenElm.Training.Gpu;
using OpenElm.Training.Kernels;
using OpenElm.Training.Losses;
using OpenElm.Training.Optimization;
using OpenElm.Training.Torch;
using OpenElm.Verification.Golden;
using TorchSharp;
using static TorchSharp.torch;

namespace OpenElm.Verification.Gpu;

/// <summary>
/// Every GPU kernel, forward and backward, against the reference kernels on the CPU in single precision, from the same inputs: at the widths of
/// the four shipped sizes, and at odd ones. Allowances are in docs/numerics.md.
/// </summary>
public static class GpuKernelSuite
{
    /// <summary>The relative norm of an error that single precision may have: the order of sums.</summary>
    public const double Fp32Allowance = 1e-5;

    /// <summary>The same in bfloat16: inputs are equal, results and two steps in between are rounded to 8 bits.</summary>
    public const double Bf16Allowance = 8e-3;

    const int Rows = 333; // no multiple of anything

    /// <summary>Runs every check.</summary>
    /// <param name="device"><c>cuda</c> or <c>cuda:N</c>.</param>
    /// <returns>One result for each set of widths and number format.</returns>
    public static IEnumerable<GoldenResult> Run(string device)
    {
        OpenElmConfig odd = NamedConfigs.Get("openelm-270m") with { ModelDim = 72, HeadDim = 24, VocabSize = 301 };
        (string Name, OpenElmConfig Config)[] configs =
        [
            .. NamedConfigs.Names.Where(name => !name.Contains("instruct", StringComparison.OrdinalIgnoreCase)).Select(name => (name, NamedConfigs.Get(name) with { VocabSize = 32128 })),
            ("odd", odd), ("odder", odd with { ModelDim = 65, HeadDim = 16, VocabSize = 4093 }),
        ];
        foreach ((string name, OpenElmConfig config) in configs.DistinctBy(entry => (entry.Config.ModelDim, entry.Config.HeadDim)))
        {
            foreach (ScalarType type in new[] { ScalarType.BFloat16, ScalarType.Float32 })
            {
                using var suite = new Checks(device, config, type);
                yield return GoldenResult.Of($"{name}-{(type == ScalarType.BFloat16 ? "bf16" : "fp32")}", "kernels", suite.All());
            }
        }

        yield return GoldenResult.Of("pass-bf16", "kernels", WholePass(device));
    }

    // Three layers of the smallest size: losses and gradients of the bfloat16 pass against single precision from the same weights.
    static List<GoldenCheck> WholePass(string device)
    {
        OpenElmConfig config = NamedConfigs.Get("openelm-270m") with { NumTransformerLayers = 3, VocabSize = 1000 };
        const int sequences = 2, length = 200;
        var loss = new LossOptions { IgnoreIndex = 999, ZLossFactor = 1e-4 };
        using var exact = new OpenElmModule(config, new ModuleOptions { Device = device, Kernels = KernelChoice.Reference, PaddingId = 999 });
        using var module = new OpenElmModule(config, new ModuleOptions { Device = device, Kernels = KernelChoice.Fused, Precision = Precision.Bf16, PaddingId = 999 });
        exact.Initialize(seed: 3);
        using var scope = NewDisposeScope();
        using (no_grad())
        {
            foreach ((NamedWeight from, NamedWeight to) in exact.Weights.Zip(module.Weights))
            {
                to.Value.copy_(from.Value);
                from.Value.copy_(to.Value); // the same rounded numbers
            }
        }

        var random = new Random(5);
        int[] ids = [.. Enumerable.Range(0, sequences * length).Select(_ => random.Next(1000))], targets = [.. ids.Select(_ => random.Next(1000))];
        Tensor On(int[] values) => tensor(values, [sequences, length]).to(ScalarType.Int64, TorchLibrary.Device(device));
        LossResult expected = new CausalLMLoss(loss).Compute(exact, On(ids), On(targets));
        expected.Total.backward();

        using var pass = new GpuPass(module, sequences, length, loss, accumulates: false);
        pass.ClearLosses();
        pass.Run(ids, targets, new MicroBatchShare(1, 1, Accumulate: false));
        float[] losses = TrainingGoldenRuntime.Floats(pass.CopyLosses());
        List<GoldenCheck> checks =
        [
            GoldenComparison.Compare("cross entropy", expected.CrossEntropy.item<float>(), losses[0], GoldenMeasure.Relative, 2e-3),
            GoldenComparison.Compare("z-loss", expected.ZLoss.item<float>(), losses[1], GoldenMeasure.Relative, 2e-3),
        ];
        checks.AddRange(exact.Weights.Zip(pass.Gradients, (weight, gradient) => GoldenComparison.Compare(
            weight.Name, TrainingGoldenRuntime.Floats(weight.Value.grad!), TrainingGoldenRuntime.Floats(gradient.Tensor), GoldenMeasure.Relative, 5e-2)));
        return checks;
    }

    sealed class Checks : IDisposable
    {
        readonly OpenElmConfig _config;
        readonly ScalarType _type;
        readonly Device _device;
        readonly GpuKernels _kernels;
        readonly ReferenceKernels _reference = new();
        readonly DisposeScope _scope = NewDisposeScope();
        readonly Generator _random = new(7);
        readonly List<GoldenCheck> _checks = [];
        readonly double _allowance;

        public Checks(string device, OpenElmConfig config, ScalarType type)
        {
            (_config, _type, _device) = (config, type, TorchLibrary.Device(device));
            _allowance = type == ScalarType.BFloat16 ? Bf16Allowance : Fp32Allowance;
            _kernels = new GpuKernels(new CudaDevice(Math.Max(0, _device.index)), config, new GpuTypes(type, type, type));
        }

        public List<GoldenCheck> All()
        {
            RmsNorm();
            foreach (LayerShape shape in _config.Layers.DistinctBy(layer => layer.QueryHeads).Select(layer => new LayerShape(layer.QueryHeads, layer.KvHeads, 0)).Prepend(new LayerShape(3, 1, 0)))
            {
                NormAndRotate(shape);
            }

            foreach (int width in _config.Layers.Select(layer => layer.FfnDim).Distinct().Prepend(37))
            {
                SwiGlu(width);
            }

            CrossEntropy(smoothing: 0);
            CrossEntropy(smoothing: 0.1);
            LookUp();
            AdamWUpdates();
            return _checks;
        }

        public void Dispose()
        {
            _scope.Dispose();
            _random.Dispose();
            _kernels.Dispose();
        }

        void RmsNorm()
        {
            int width = _config.ModelDim;
            (Tensor x, Tensor w, Tensor dy, Tensor past) = (Draw(Rows, width), Draw(width), Draw(Rows, width), Draw(Rows, width));
            (Tensor xr, Tensor wr) = (Leaf(x), Leaf(w));
            Tensor expected = _reference.RmsNorm(xr, wr, _config.RmsNormEps);
            expected.backward([dy.to_type(ScalarType.Float32)]);

            DeviceBuffer y = Buffer(Rows, width), partials = Partials(), gradient = Buffer(width), flow = Copy(past), dyOnGpu = Copy(dy), xOnGpu = Copy(x), wOnGpu = Copy(w);
            _kernels.RmsNorm(xOnGpu.Address, wOnGpu.Address, y.Address, Rows);
            _kernels.RmsNormBackward(dyOnGpu.Address, xOnGpu.Address, wOnGpu.Address, flow.Address, partials.Address, gradient.Address, Rows, isFirst: false, wantsResult: true, accumulate: false);
            Check("rms_norm", expected, y);
            Check("rms_norm again", expected, dyOnGpu);
            Check("rms_norm dx", xr.grad! + past.to_type(ScalarType.Float32), flow);
            Check("rms_norm dw", wr.grad!, gradient);
            DeviceBuffer alone = Buffer(Rows, width);
            dyOnGpu.Tensor.copy_(dy);
            _kernels.RmsNormBackward(dyOnGpu.Address, xOnGpu.Address, wOnGpu.Address, alone.Address, partials.Address, gradient.Address, Rows, isFirst: true, wantsResult: false, accumulate: true);
            Check("rms_norm dx first", xr.grad!, alone);
            Check("rms_norm dw accumulated", wr.grad! * 2, gradient);
            Check("rms_norm dy kept", dy, dyOnGpu);
        }

        void NormAndRotate(LayerShape shape)
        {
            const int sequences = 3, length = 111;
            int headDim = _config.HeadDim, heads = shape.QueryHeads + (2 * shape.KvHeads), tokens = sequences * length;
            using var table = new RopeTable(_config with { MaxContextLength = 128 }, CPU);
            SequenceLayout layout = table.LayoutOf(length);
            (Tensor qkv, Tensor qw, Tensor kw) = (Draw(sequences, length, heads * headDim), Draw(headDim), Draw(headDim));
            (Tensor qkvr, Tensor qwr, Tensor kwr) = (Leaf(qkv), Leaf(qw), Leaf(kw));
            QueryKeyValue expected = _reference.SplitNormRotate(qkvr, qwr, kwr, layout, new AttentionShape(shape, headDim, _config.RmsNormEps));
            (Tensor dq, Tensor dk, Tensor dv) = (Draw(sequences, length, shape.QueryHeads, headDim), Draw(sequences, length, shape.KvHeads, headDim), Draw(sequences, length, shape.KvHeads, headDim));
            Tensor Wide(Tensor gradient) => gradient.to_type(ScalarType.Float32).transpose(1, 2);
            autograd.backward([expected.Q, expected.K, expected.V], [Wide(dq), Wide(dk), Wide(dv)]);

            using DeviceBuffer cos = new(layout.Cos.to(_device)), sin = new(layout.Sin.to(_device));
            DeviceBuffer onGpu = Copy(qkv), rotated = Buffer(tokens, shape.QueryHeads + shape.KvHeads, headDim), qGradient = Buffer(headDim), kGradient = Buffer(headDim), qOnGpu = Copy(qw), kOnGpu = Copy(kw);
            _kernels.NormAndRotate(onGpu.Address, qOnGpu.Address, kOnGpu.Address, cos.Address, sin.Address, rotated.Address, tokens, length, shape);
            _kernels.NormAndRotateBackward(Copy(dq).Address, Copy(dk).Address, Copy(dv).Address, onGpu.Address, qOnGpu.Address, kOnGpu.Address, cos.Address, sin.Address,
                Partials().Address, qGradient.Address, kGradient.Address, tokens, length, shape, accumulate: false);
            Check($"qk_norm_rope {shape.QueryHeads}", cat([expected.Q, expected.K], 1).transpose(1, 2), rotated);
            Check($"qk_norm_rope {shape.QueryHeads} dx", qkvr.grad!, onGpu);
            Check($"qk_norm_rope {shape.QueryHeads} dq weight", qwr.grad!, qGradient);
            Check($"qk_norm_rope {shape.QueryHeads} dk weight", kwr.grad!, kGradient);
        }

        void SwiGlu(int width)
        {
            (Tensor gateUp, Tensor dy) = (Draw(Rows, 2 * width), Draw(Rows, width));
            Tensor reference = Leaf(gateUp), expected = _reference.SwiGlu(reference);
            expected.backward([dy.to_type(ScalarType.Float32)]);
            DeviceBuffer onGpu = Copy(gateUp), y = Buffer(Rows, width), dyOnGpu = Copy(dy);
            _kernels.SwiGlu(onGpu.Address, y.Address, Rows, width);
            _kernels.SwiGluBackward(dyOnGpu.Address, onGpu.Address, Rows, width);
            Check($"swiglu {width}", expected, y);
            Check($"swiglu {width} again", expected, dyOnGpu);
            Check($"swiglu {width} dx", reference.grad!, onGpu);
        }

        void CrossEntropy(double smoothing)
        {
            int vocab = _config.VocabSize;
            Tensor logits = Draw(Rows, vocab) * 3, targets = randint(vocab, [Rows], ScalarType.Int64, generator: _random);
            targets[TensorIndex.Slice(null, null, 5)] = 7; // ignored
            logits = logits.to_type(_type);
            Tensor reference = Leaf(logits);
            var options = new LossOptions { IgnoreIndex = 7, ZLossFactor = 1e-3, LabelSmoothing = smoothing };
            LossResult expected = new CausalLMLoss(options).ComputePlain(reference, targets);
            expected.Total.backward();
            DeviceBuffer onGpu = Copy(logits), entropies = Floats(Rows), zs = Floats(Rows), sums = Floats(2);
            sums.Tensor.zero_();
            using DeviceBuffer ids = new(targets.to(ScalarType.Int32, _device));
            float scale = 1 / expected.ValidTargets.item<float>();
            _kernels.CrossEntropy(onGpu.Address, ids.Address, entropies.Address, zs.Address, Rows, 7, scale, 2 * scale, 1e-3f, (float)smoothing);
            _kernels.SumLosses(entropies.Address, zs.Address, sums.Address, Rows);
            float[] losses = TrainingGoldenRuntime.Floats(sums.Tensor);
            _checks.Add(GoldenComparison.Compare($"cross_entropy {smoothing}", 2 * expected.CrossEntropy.item<float>(), losses[0], GoldenMeasure.Relative, Fp32Allowance));
            _checks.Add(GoldenComparison.Compare($"z-loss {smoothing}", 2 * expected.ZLoss.item<float>(), losses[1], GoldenMeasure.Relative, Fp32Allowance));
            Check($"cross_entropy {smoothing} dx", reference.grad!, onGpu);
        }

        void LookUp()
        {
            const int padding = 3;
            int vocab = _config.VocabSize, width = _config.ModelDim;
            (Tensor weight, Tensor dx) = (Draw(vocab, width), Draw(Rows, width));
            int[] ids = [.. Enumerable.Range(0, Rows).Select(i => i % 7 == 0 ? padding : i % 5 == 0 ? 11 : i * 37 % vocab)];
            Tensor reference = Leaf(weight), expected = Dispatcher.Embedding(reference, tensor(ids, dtype: ScalarType.Int64), padding);
            expected.backward([dx.to_type(ScalarType.Float32)]);
            var order = new EmbeddingOrder(vocab, Rows);
            order.Sort(ids, padding);
            using DeviceBuffer idsOnGpu = new(tensor(ids, device: _device)), tokens = new(tensor(order.Order, device: _device)), starts = new(tensor(order.Starts, device: _device)), distinct = new(tensor(order.Ids, device: _device));
            DeviceBuffer x = Buffer(Rows, width), gradient = Buffer(vocab, width), onGpu = Copy(weight), dxOnGpu = Copy(dx);
            gradient.Tensor.zero_();
            _kernels.LookUp(idsOnGpu.Address, onGpu.Address, x.Address, Rows);
            _kernels.LookUpBackward(dxOnGpu.Address, tokens.Address, starts.Address, distinct.Address, order.Distinct, gradient.Address);
            Check("embedding", expected, x);
            Check("embedding dw", reference.grad!, gradient);
        }

        // Five updates of three weights, one of them larger than a chunk, against libtorch's own fused AdamW on the CPU.
        void AdamWUpdates()
        {
            long[][] shapes = [[300, 31], [1001], [64, 8]];
            Tensor[] start = [.. shapes.Select(shape => Draw(shape))];
            NamedWeight[] ours = [.. start.Select((value, i) => new NamedWeight($"w{i}", new TorchSharp.Modules.Parameter(value.to(_device))))];
            NamedWeight[] theirs = [.. start.Select((value, i) => new NamedWeight($"w{i}", new TorchSharp.Modules.Parameter(value.to_type(ScalarType.Float32))))];
            using AdamW mine = new(ours), reference = new(theirs);
            DeviceBuffer[] gradients = [.. shapes.Select(shape => Buffer(shape))];
            using var gpu = new GpuAdamW(mine, gradients, _kernels, _device);
            for (int update = 1; update <= 5; update++)
            {
                for (int i = 0; i < shapes.Length; i++)
                {
                    Tensor gradient = Draw(shapes[i]);
                    gradients[i].Tensor.copy_(gradient);
                    theirs[i].Value.grad = gradient.to_type(ScalarType.Float32);
                }

                Tensor norm = GradientClipping.ClipByGlobalNorm(theirs, 1);
                reference.LearningRate = 1e-2;
                reference.Step();
                float got = TrainingGoldenRuntime.Floats(gpu.Step(1e-2, 1, update))[0];
                _checks.Add(GoldenComparison.Compare($"gradient norm {update}", norm.item<float>(), got, GoldenMeasure.Relative, Fp32Allowance));
            }

            for (int i = 0; i < shapes.Length; i++)
            {
                float[] expected = TrainingGoldenRuntime.Floats(theirs[i].Value);
                _checks.Add(GoldenComparison.Compare($"adamw master {i}", expected, TrainingGoldenRuntime.Floats(mine.MasterWeights()[i].Tensor), GoldenMeasure.Relative, Fp32Allowance));
                _checks.Add(GoldenComparison.Compare($"adamw weight {i}", expected, TrainingGoldenRuntime.Floats(ours[i].Value), GoldenMeasure.Relative, _allowance));
                _checks.Add(GoldenComparison.Compare($"adamw moment {i}", TrainingGoldenRuntime.Floats(reference.Slots[i].SquareAverage), TrainingGoldenRuntime.Floats(mine.Slots[i].SquareAverage), GoldenMeasure.Relative, Fp32Allowance));
            }
        }

        void Check(string name, Tensor expected, DeviceBuffer actual) =>
            _checks.Add(GoldenComparison.Compare(name, TrainingGoldenRuntime.Floats(expected), TrainingGoldenRuntime.Floats(actual.Tensor), GoldenMeasure.Relative, _allowance));

        Tensor Draw(params long[] shape) => randn(shape, generator: _random).to_type(_type);

        // The same numbers in single precision, wanting a gradient.
        static Tensor Leaf(Tensor values) => values.to_type(ScalarType.Float32).clone().detach().requires_grad_(true);

        DeviceBuffer Copy(Tensor values) => Kept(values.to(_device).clone());

        // Poisoned, so that an element that is not written shows.
        DeviceBuffer Buffer(params long[] shape) => Kept(full(shape, double.NaN, _type, _device));

        DeviceBuffer Floats(int count) => Kept(full(count, double.NaN, ScalarType.Float32, _device));

        DeviceBuffer Partials() => Kept(full(_kernels.PartialFloats, double.NaN, ScalarType.Float32, _device));

        DeviceBuffer Kept(Tensor tensor)
        {
            var buffer = new DeviceBuffer(tensor);
            _scope.Attach(buffer.Tensor);
            return buffer;
        }
    }
}
