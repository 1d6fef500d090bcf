using System.Diagnostics;
using OpenElm.Configuration;
using OpenElm.Training;
using OpenElm.Training.Losses;
using OpenElm.Training.Optimization;
using OpenElm.Training.Torch;
using static TorchSharp.torch;

namespace OpenElm.Benchmarks.Training;

/// <summary>
/// Training tokens per second: ours against the same model and batch written plainly in TorchSharp, in one process, taking
/// turns, so that other load hits both. Each turn is a few whole updates: forward, loss, backward, clipping, AdamW.
/// </summary>
internal static class TrainingStepBenchmark
{
    /// <summary>A small model of the quickstart's size.</summary>
    public static readonly OpenElmConfig Config = new OpenElmConfig
    {
        VocabSize = 8192,
        MaxContextLength = 256,
        NumTransformerLayers = 6,
        ModelDim = 256,
        HeadDim = 64,
        QkvMultipliers = (0.5, 1.0),
        QueryHeadsPerKvHead = 2,
        FfnMultipliers = (0.5, 4.0),
        FfnDimDivisor = 64,
        NormalizeQkProjections = true,
        ShareInputOutputLayers = true,
    }.Validated();

    const int Batch = 8, Seq = 256, StepsPerTurn = 3;

    /// <summary>Runs the comparison: <c>training [turns] [fp32|autocast|bf16]</c>; the plain model is always in single precision.</summary>
    /// <param name="args">What follows the verb.</param>
    /// <returns>The exit code.</returns>
    public static int Run(string[] args)
    {
        int turns = args.Length > 0 ? int.Parse(args[0]) : 7;
        Precision precision = args.Length > 1 ? Enum.Parse<Precision>(args[1], ignoreCase: true) : Precision.Fp32;
        static void Report(string line) => Console.WriteLine(line);

        TorchLibrary.EnsureLoaded();
        TorchDescription torchLibrary = TorchLibrary.Describe();
        Report($"libtorch {torchLibrary.Version}, {torchLibrary.Blas}, {torchLibrary.Threads} threads; {MatmulProbe.Measure("cpu", Precision.Fp32) / 1e9:f0} GFLOP/s (1024³, fp32)");
        Report($"{ParameterCount.Of(Config).Total:n0} parameters, batch {Batch} x {Seq}, ours in {precision}");
        using var ours = new Ours(precision);
        using var plain = new Plain();
        List<Rate> oursRates = [], plainRates = [];
        Turn(ours);
        Turn(plain);
        for (int turn = 0; turn < turns; turn++)
        {
            oursRates.Add(Turn(ours));
            plainRates.Add(Turn(plain));
            Report($"turn {turn + 1}: ours {oursRates[^1]}, plain TorchSharp {plainRates[^1]}");
        }

        (Rate a, Rate b) = (Median(oursRates), Median(plainRates));
        Report($"median: ours {a}, plain {b}; ratio {a.Wall / b.Wall:f2} by the clock, {a.Cpu / b.Cpu:f2} by processor time; last loss {ours.Loss:f4} and {plain.Loss:f4}");
        return 0;
    }

    /// <param name="Wall">Tokens for each second of the clock.</param>
    /// <param name="Cpu">Tokens for each second of processor time, which other programs disturb less.</param>
    readonly record struct Rate(double Wall, double Cpu)
    {
        public override string ToString() => $"{Wall:n0} tokens/s ({Cpu:n0} per processor second)";
    }

    static Rate Turn(IStep step)
    {
        using var process = Process.GetCurrentProcess();
        TimeSpan before = process.TotalProcessorTime;
        var watch = Stopwatch.StartNew();
        for (int i = 0; i < StepsPerTurn; i++)
        {
            step.Step();
        }

        double wall = watch.Elapsed.TotalSeconds;
        process.Refresh();
        const double tokens = StepsPerTurn * Batch * Seq;
        return new Rate(tokens / wall, tokens / (process.TotalProcessorTime - before).TotalSeconds);
    }

    static Rate Median(List<Rate> rates) => new(Median(rates.Select(r => r.Wall)), Median(rates.Select(r => r.Cpu)));

    static double Median(IEnumerable<double> values) => values.Order().ElementAt(values.Count() / 2);

    // The same tokens for both: a learnable sequence with noise.
    static (Tensor Ids, Tensor Targets) NextBatch(Random random)
    {
        long[] tokens = new long[Batch * (Seq + 1)];
        for (int i = 0; i < tokens.Length; i++)
        {
            tokens[i] = i % (Seq + 1) == 0 || random.Next(4) == 0 ? random.Next(Config.VocabSize) : ((tokens[i - 1] * 7) + 3) % Config.VocabSize;
        }

        Tensor all = tensor(tokens, [Batch, Seq + 1]);
        return (all[TensorIndex.Colon, TensorIndex.Slice(0, Seq)].contiguous(), all[TensorIndex.Colon, TensorIndex.Slice(1)].contiguous());
    }

    interface IStep : IDisposable
    {
        double Loss { get; }

        void Step();
    }

    sealed class Ours : IStep
    {
        readonly OpenElmModule _model;
        readonly AdamW _optimizer;
        readonly CausalLMLoss _loss = new();
        readonly Random _random = new(1);

        public Ours(Precision precision)
        {
            _model = new OpenElmModule(Config, new ModuleOptions { Precision = precision });
            _model.Initialize(1);
            _optimizer = new AdamW(_model.Weights) { LearningRate = 1e-3 };
        }

        public double Loss { get; private set; }

        public void Step()
        {
            using var scope = NewDisposeScope();
            (Tensor ids, Tensor targets) = NextBatch(_random);
            LossResult loss = _loss.Compute(_model, ids, targets);
            loss.Total.backward();
            Tensor norm = GradientClipping.ClipByGlobalNorm(_model.Weights, 1.0);
            _optimizer.Step();
            _optimizer.ZeroGrad();
            Loss = loss.Total.item<float>() + (0 * norm.item<float>());
        }

        public void Dispose()
        {
            _optimizer.Dispose();
            _model.Dispose();
        }
    }

    sealed class Plain : IStep
    {
        readonly PlainModel _model;
        readonly optim.Optimizer _optimizer;
        readonly Random _random = new(1);

        public Plain()
        {
            random.manual_seed(1);
            _model = new PlainModel(Config);
            foreach (TorchSharp.Modules.Parameter p in _model.parameters().Where(p => p.dim() >= 2))
            {
                nn.init.normal_(p, 0, 1 / Math.Sqrt(Config.ModelDim));
            }

            _optimizer = _model.CreateOptimizer(1e-3);
        }

        public double Loss { get; private set; }

        public void Step()
        {
            using var scope = NewDisposeScope();
            (Tensor ids, Tensor targets) = NextBatch(_random);
            _optimizer.zero_grad();
            Tensor loss = PlainModel.Loss(_model.call(ids), targets);
            loss.backward();
            nn.utils.clip_grad_norm_(_model.parameters(), 1.0);
            _optimizer.step();
            Loss = loss.item<float>();
        }

        public void Dispose()
        {
            _optimizer.Dispose();
            _model.Dispose();
        }
    }
}
