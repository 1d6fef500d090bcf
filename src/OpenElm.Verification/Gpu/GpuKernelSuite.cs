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

    const int MostAtOnce = 8; // of the widest, each holds some hundred MiB
    const int Rows = 333, FewRows = 37; // no multiples of anything; few at every width of a model's layers but the narrowest, or drawing and comparing numbers takes minutes

    /// <summary>Runs every check.</summary>
    /// <param name="device"><c>cuda</c> or <c>cuda:N</c>.</param>
    /// <returns>One result for each set of widths and number format.</returns>
    public static IEnumerable<GoldenResult> Run(string device)
    {
        (string Name, OpenElmConfig Config)[] configs =
            [.. NamedConfigs.Names.Where(name => !name.Contains("instruct", StringComparison.OrdinalIgnoreCase)).Select(name => (name, NamedConfigs.Get(name) with { VocabSize = 32128 })), .. OddConfigs];
        TorchLibrary.EnsureLoaded(); // nothing may have needed libtorch yet
        zeros(1, device: TorchLibrary.Device(device)).Dispose(); // the device starts before threads want it
        IEnumerable<Func<GoldenResult>> checks = configs.DistinctBy(entry => (entry.Config.ModelDim, entry.Config.HeadDim)).SelectMany(entry => ChecksOf(device, entry.Name, entry.Config));

        // Operators with a thread each, several sets of widths and formats side by side: operators that share the processors wait for one another most of the time,
        // and much longer where other programs run. One set's kernels compile beside the checks of another.
        int threads = get_num_threads();
        set_num_threads(1);
        try
        {
            foreach (GoldenResult result in SideBySide(checks, Math.Clamp(Environment.ProcessorCount, 2, MostAtOnce)))
            {
                yield return result;
            }
        }
        finally
        {
            set_num_threads(threads);
        }
    }

    /// <summary>Widths that no vector access divides.</summary>
    internal static IEnumerable<(string Name, OpenElmConfig Config)> OddConfigs
    {
        get
        {
            OpenElmConfig odd = NamedConfigs.Get("openelm-270m") with { ModelDim = 72, HeadDim = 24, VocabSize = 301 };
            return [("odd", odd), ("odder", odd with { ModelDim = 65, HeadDim = 16, VocabSize = 4093 })];
        }
    }

    /// <summary>Runs the checks at the widths of one configuration.</summary>
    internal static IEnumerable<GoldenResult> Run(string device, string name, OpenElmConfig config)
    {
        TorchLibrary.EnsureLoaded(); // nothing may have needed libtorch yet
        return ChecksOf(device, name, config).Select(check => check());
    }

    static IEnumerable<Func<GoldenResult>> ChecksOf(string device, string name, OpenElmConfig config) => Enum.GetValues<Precision>().Select(precision => (Func<GoldenResult>)(() =>
    {
        using var suite = new Checks(device, config, GpuTypes.Of(precision, accumulates: false));
        return GoldenResult.Of($"{name}-{precision}".ToLowerInvariant(), "kernels", suite.All());
    }));

    // In order, each on a thread of its own; none begins any more when nobody asks for the next.
    static IEnumerable<T> SideBySide<T>(IEnumerable<Func<T>> work, int most)
    {
        var underway = new Queue<Task<T>>();
        foreach (Func<T> one in work)
        {
            underway.Enqueue(Task.Factory.StartNew(one, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default));
            if (underway.Count == most)
            {
                yield return underway.Dequeue().GetAwaiter().GetResult();
            }
        }

        while (underway.TryDequeue(out Task<T>? next))
        {
            yield return next.GetAwaiter().GetResult();
        }
    }

    sealed class Checks : IDisposable
    {
        readonly OpenElmConfig _config;
        readonly GpuTypes _types;
        readonly Device _device;
        readonly GpuKernels _kernels;
        readonly GpuSwiGluProducts? _products;
        readonly ReferenceKernels _reference = new();
        readonly Generator _random = new(7);
        readonly List<GoldenCheck> _checks = [];
        readonly double _allowance;

        DisposeScope? _scope;

        public Checks(string device, OpenElmConfig config, GpuTypes types)
        {
            (_config, _types, _device) = (config, types, TorchLibrary.Device(device));
            _allowance = types.Product == ScalarType.BFloat16 ? Bf16Allowance : Fp32Allowance;
            var gpu = new CudaDevice(Math.Max(0, _device.index));
            _kernels = new GpuKernels(gpu, config, types);
            _products = GpuSwiGluProducts.Refusal(config, gpu.ComputeCapability, types) is null ? new GpuSwiGluProducts(gpu) : null;
        }

        public List<GoldenCheck> All()
        {
            Step(RmsNorm);
            foreach (LayerShape shape in _config.Layers.DistinctBy(layer => layer.QueryHeads).Select(layer => new LayerShape(layer.QueryHeads, layer.KvHeads, 0)).Prepend(new LayerShape(3, 1, 0)))
            {
                Step(() => NormAndRotate(shape));
            }

            int[] widths = [.. _config.Layers.Select(layer => layer.FfnDim).Distinct().Order()];
            foreach (int width in widths.Prepend(37))
            {
                Step(() => SwiGlu(width, width <= widths[0] ? Rows : FewRows));
            }

            if (_products is not null)
            {
                Step(() => SwiGluProducts(_products, 136, Rows));
                Step(() => SwiGluProducts(_products, _config.Layers[0].FfnDim, IsEmulated ? Rows / 2 : 20 * Rows)); // several tiles for each multiprocessor of a real GPU
            }

            Step(() => CrossEntropy(smoothing: 0));
            Step(() => CrossEntropy(smoothing: 0.1));
            Step(LookUp);
            Step(AdamWUpdates);
            return _checks;
        }

        // What a check makes goes with it.
        void Step(Action check)
        {
            using DisposeScope scope = NewDisposeScope();
            _scope = scope;
            check();
        }

        public void Dispose()
        {
            _random.Dispose();
            _products?.Dispose();
            _kernels.Dispose();
        }

        void RmsNorm()
        {
            int width = _config.ModelDim;
            (Tensor x, Tensor w, Tensor dy, Tensor past) = (Draw(R, Rows, width), Draw(R, width), Draw(P, Rows, width), Draw(R, Rows, width));
            (Tensor xr, Tensor wr) = (Leaf(x), Leaf(w));
            Tensor expected = _reference.RmsNorm(xr, wr, _config.RmsNormEps);
            expected.backward([dy.to_type(ScalarType.Float32)]);

            DeviceBuffer y = Buffer(P, Rows, width), partials = Partials(), gradient = Buffer(G, width), flow = Copy(past), rounded = Buffer(P, Rows, width), dyOnGpu = Copy(dy), xOnGpu = Copy(x), wOnGpu = Copy(w);
            _kernels.RmsNorm(xOnGpu.Address, wOnGpu.Address, y.Address, Rows);
            _kernels.RmsNormBackward(dyOnGpu.Address, xOnGpu.Address, wOnGpu.Address, flow.Address, rounded.Address, partials.Address, gradient.Address, Rows, isFirst: false, wantsResult: true, accumulate: false);
            Check("rms_norm", expected, y);
            Check("rms_norm again", expected, dyOnGpu);
            Check("rms_norm dx", xr.grad!.Plus(past.to_type(ScalarType.Float32)), flow);
            Check("rms_norm dx rounded", xr.grad!.Plus(past.to_type(ScalarType.Float32)), rounded);
            Check("rms_norm dw", wr.grad!, gradient);
            DeviceBuffer alone = Buffer(R, Rows, width);
            dyOnGpu.Tensor.copy_(dy);
            _kernels.RmsNormBackward(dyOnGpu.Address, xOnGpu.Address, wOnGpu.Address, alone.Address, 0, partials.Address, gradient.Address, Rows, isFirst: true, wantsResult: false, accumulate: true);
            Check("rms_norm dx first", xr.grad!, alone);
            Check("rms_norm dw accumulated", wr.grad! * Number(2), gradient);
            Check("rms_norm dy kept", dy, dyOnGpu);
        }

        void NormAndRotate(LayerShape shape)
        {
            const int sequences = 3, length = 111;
            int headDim = _config.HeadDim, heads = shape.QueryHeads + (2 * shape.KvHeads), tokens = sequences * length;
            using var table = new RopeTable(_config with { MaxContextLength = 128 }, CPU);
            SequenceLayout layout = table.LayoutOf(length);
            (Tensor qkv, Tensor qw, Tensor kw) = (Draw(P, sequences, length, heads * headDim), Draw(R, headDim), Draw(R, headDim));
            (Tensor qkvr, Tensor qwr, Tensor kwr) = (Leaf(qkv), Leaf(qw), Leaf(kw));
            QueryKeyValue expected = _reference.SplitNormRotate(qkvr, qwr, kwr, layout, new AttentionShape(shape, headDim, _config.RmsNormEps));
            (Tensor dq, Tensor dk, Tensor dv) = (Draw(P, sequences, length, shape.QueryHeads, headDim), Draw(P, sequences, length, shape.KvHeads, headDim), Draw(P, sequences, length, shape.KvHeads, headDim));
            Tensor Wide(Tensor gradient) => gradient.to_type(ScalarType.Float32).transpose(1, 2);
            autograd.backward([expected.Q, expected.K, expected.V], [Wide(dq), Wide(dk), Wide(dv)]);

            int[] places = [.. Enumerable.Range(0, tokens).Select(token => token % length)];
            using DeviceBuffer cos = new(layout.Cos.to(_device).clone()), sin = new(layout.Sin.to(_device).clone()), positions = new(tensor(places, device: _device));
            DeviceBuffer onGpu = Copy(qkv), rotated = Buffer(P, tokens, shape.QueryHeads + shape.KvHeads, headDim), qGradient = Buffer(G, headDim), kGradient = Buffer(G, headDim), qOnGpu = Copy(qw), kOnGpu = Copy(kw);
            _kernels.NormAndRotate(onGpu.Address, qOnGpu.Address, kOnGpu.Address, cos.Address, sin.Address, positions.Address, rotated.Address, tokens, shape);
            _kernels.NormAndRotateBackward(Copy(dq).Address, Copy(dk).Address, Copy(dv).Address, onGpu.Address, qOnGpu.Address, kOnGpu.Address, cos.Address, sin.Address,
                positions.Address, Partials().Address, qGradient.Address, kGradient.Address, tokens, shape, accumulate: false);
            Check($"qk_norm_rope {shape.QueryHeads}", cat([expected.Q, expected.K], 1).transpose(1, 2), rotated);
            Check($"qk_norm_rope {shape.QueryHeads} dx", qkvr.grad!, onGpu);
            Check($"qk_norm_rope {shape.QueryHeads} dq weight", qwr.grad!, qGradient);
            Check($"qk_norm_rope {shape.QueryHeads} dk weight", kwr.grad!, kGradient);
        }

        void SwiGlu(int width, int rows)
        {
            (Tensor gateUp, Tensor dy) = (Draw(P, rows, 2 * width), Draw(P, rows, width));
            Tensor reference = Leaf(gateUp), expected = _reference.SwiGlu(reference);
            expected.backward([dy.to_type(ScalarType.Float32)]);
            DeviceBuffer onGpu = Copy(gateUp), y = Buffer(P, rows, width), dyOnGpu = Copy(dy);
            _kernels.SwiGlu(onGpu.Address, y.Address, rows, width);
            _kernels.SwiGluBackward(dyOnGpu.Address, onGpu.Address, rows, width);
            Check($"swiglu {width}", expected, y);
            Check($"swiglu {width} again", expected, dyOnGpu);
            Check($"swiglu {width} dx", reference.grad!, onGpu);
        }

        void SwiGluProducts(GpuSwiGluProducts products, int width, int rows)
        {
            int inner = _config.ModelDim;
            Tensor x = Draw(P, rows, inner), first = (randn([2 * width, inner], generator: _random) / Number(Math.Sqrt(inner))).to_type(P), second = (randn([inner, width], generator: _random) / Number(Math.Sqrt(inner))).to_type(P);
            Tensor gateUp = Wide(x).matmul(Wide(first).t()), expected = _reference.SwiGlu(gateUp);
            DeviceBuffer onGpu = Buffer(P, rows, 2 * width), y = Buffer(P, rows, width), xOnGpu = Copy(x);
            products.Forward(xOnGpu.Address, Copy(first).Address, onGpu.Address, y.Address, (rows, width, inner), 0);
            Check($"swiglu product {width} gates and ups", gateUp, onGpu);
            Check($"swiglu product {width}", expected, y);

            Tensor reference = Leaf(onGpu.Tensor), again = _reference.SwiGlu(reference);
            again.backward([Wide(x).matmul(Wide(second))]);
            y.Tensor.fill_(Number(double.NaN));
            products.Backward(xOnGpu.Address, Copy(second).Address, onGpu.Address, y.Address, (rows, width, inner), 0);
            Check($"swiglu product {width} dx", reference.grad!, onGpu);
            Check($"swiglu product {width} again", again, y);

            Tensor Wide(Tensor values) => values.to(_device).to_type(ScalarType.Float32);
        }

        void CrossEntropy(double smoothing)
        {
            const int rows = 77;
            int vocab = _config.VocabSize;
            Tensor logits = Draw(P, rows, vocab) * Number(3), targets = randint(vocab, [rows], ScalarType.Int64, generator: _random);
            targets[TensorIndex.Slice(null, null, 5)] = 7; // ignored
            logits = logits.to_type(P);
            Tensor reference = Leaf(logits);
            var options = new LossOptions { IgnoreIndex = 7, ZLossFactor = 1e-3, LabelSmoothing = smoothing };
            LossResult expected = new CausalLMLoss(options).ComputePlain(reference, targets);
            expected.Total.backward();
            DeviceBuffer onGpu = Copy(logits), entropies = Floats(rows), zs = Floats(rows), sums = Floats(2);
            sums.Tensor.zero_();
            using DeviceBuffer ids = new(targets.to(ScalarType.Int32, _device));
            float scale = 1 / expected.ValidTargets.item<float>();
            using DeviceBuffer scales = new(tensor(new[] { scale, 2 * scale }, device: _device));
            _kernels.CrossEntropy(onGpu.Address, ids.Address, entropies.Address, zs.Address, rows, 7, scales.Address, 1e-3f, (float)smoothing);
            _kernels.SumLosses(entropies.Address, zs.Address, sums.Address, rows);
            float[] losses = TrainingGoldenRuntime.Floats(sums.Tensor);
            _checks.Add(GoldenComparison.Compare($"cross_entropy {smoothing}", 2 * expected.CrossEntropy.item<float>(), losses[0], GoldenMeasure.Relative, Fp32Allowance));
            _checks.Add(GoldenComparison.Compare($"z-loss {smoothing}", 2 * expected.ZLoss.item<float>(), losses[1], GoldenMeasure.Relative, Fp32Allowance));
            Check($"cross_entropy {smoothing} dx", reference.grad!, onGpu);
        }

        void LookUp()
        {
            const int padding = 3;
            const int vocab = 1000;
            int width = _config.ModelDim;
            (Tensor weight, Tensor dx) = (Draw(R, vocab, width), Draw(R, Rows, width));
            int[] ids = [.. Enumerable.Range(0, Rows).Select(i => i % 7 == 0 ? padding : i % 5 == 0 ? 11 : i * 37 % vocab)];
            Tensor reference = Leaf(weight), expected = Dispatcher.Embedding(reference, tensor(ids, dtype: ScalarType.Int64), padding);
            expected.backward([dx.to_type(ScalarType.Float32)]);
            var order = new EmbeddingOrder(vocab, Rows);
            order.Sort(ids, padding);
            using DeviceBuffer idsOnGpu = new(tensor(ids, device: _device)), tokens = new(tensor(order.Order, device: _device)), starts = new(tensor(order.Starts, device: _device)), distinct = new(tensor(order.Ids, device: _device)), count = new(tensor(new[] { order.Distinct }, device: _device));
            DeviceBuffer x = Buffer(R, Rows, width), gradient = Buffer(G, vocab, width), onGpu = Copy(weight), dxOnGpu = Copy(dx);
            gradient.Tensor.zero_();
            _kernels.LookUp(idsOnGpu.Address, onGpu.Address, x.Address, Rows);
            _kernels.LookUpBackward(dxOnGpu.Address, tokens.Address, starts.Address, distinct.Address, count.Address, Rows, gradient.Address);
            Check("embedding", expected, x);
            Check("embedding dw", reference.grad!, gradient);
        }

        // Five updates of three weights, one of them larger than a chunk, against libtorch's own fused AdamW on the CPU.
        void AdamWUpdates()
        {
            long[][] shapes = [[300, 31], [1001], [64, 8]];
            Tensor[] start = [.. shapes.Select(shape => Draw(R, shape))];
            NamedWeight[] ours = [.. start.Select((value, i) => new NamedWeight($"w{i}", new TorchSharp.Modules.Parameter(value.to(_device))))];
            NamedWeight[] theirs = [.. start.Select((value, i) => new NamedWeight($"w{i}", new TorchSharp.Modules.Parameter(value.to_type(ScalarType.Float32))))];
            using AdamW mine = new(ours), reference = new(theirs);
            DeviceBuffer[] gradients = [.. shapes.Select(shape => Buffer(G, shape))], copies = [.. shapes.Select(shape => Buffer(P, shape))];
            using var gpu = new GpuAdamW(mine, gradients, [.. copies.Select(copy => copy.Address)], _kernels, _device);
            for (int update = 1; update <= 5; update++)
            {
                for (int i = 0; i < shapes.Length; i++)
                {
                    Tensor gradient = Draw(G, shapes[i]);
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
                _checks.Add(GoldenComparison.Compare($"adamw copy {i}", expected, TrainingGoldenRuntime.Floats(copies[i].Tensor), GoldenMeasure.Relative, _allowance));
                _checks.Add(GoldenComparison.Compare($"adamw moment {i}", TrainingGoldenRuntime.Floats(reference.Slots[i].SquareAverage), TrainingGoldenRuntime.Floats(mine.Slots[i].SquareAverage), GoldenMeasure.Relative, Fp32Allowance));
            }
        }

        void Check(string name, Tensor expected, DeviceBuffer actual) =>
            _checks.Add(GoldenComparison.Compare(name, TrainingGoldenRuntime.Floats(expected), TrainingGoldenRuntime.Floats(actual.Tensor), GoldenMeasure.Relative, _allowance));

        bool IsEmulated => _device.type == DeviceType.CPU;

        ScalarType R => _types.Residual;

        ScalarType P => _types.Product;

        ScalarType G => _types.Gradient;

        Tensor Draw(ScalarType type, params long[] shape) => randn(shape, generator: _random).to_type(type);

        // The same numbers in single precision, wanting a gradient.
        static Tensor Leaf(Tensor values) => values.to_type(ScalarType.Float32).clone().detach().requires_grad_(true);

        DeviceBuffer Copy(Tensor values) => Kept(values.to(_device).clone());

        // Poisoned, so that an element that is not written shows.
        DeviceBuffer Buffer(ScalarType type, params long[] shape) => Kept(full(shape, Number(double.NaN), type, _device));

        DeviceBuffer Floats(int count) => Kept(full(count, Number(double.NaN), ScalarType.Float32, _device));

        DeviceBuffer Partials() => Kept(full(_kernels.PartialFloats, Number(double.NaN), ScalarType.Float32, _device));

        DeviceBuffer Kept(Tensor tensor)
        {
            var buffer = new DeviceBuffer(tensor);
            _scope!.Attach(buffer.Tensor);
            return buffer;
        }
    }
}
