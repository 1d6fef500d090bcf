using System.Diagnostics;
using OpenElm.Adapters;
using OpenElm.Checkpoints;
using OpenElm.Configuration;
using OpenElm.Training;
using OpenElm.Training.Adapters;
using OpenElm.Training.Losses;
using OpenElm.Training.Optimization;
using OpenElm.Training.Torch;
using static TorchSharp.torch;

namespace OpenElm.Benchmarks.Training;

/// <summary>
/// What a step of tuning by adapters costs beside a step that trains the whole model: the 270M shape with random weights and the same batch, in one
/// process, taking turns. The adapters are the paper's on the linear layers, rank 32.
/// </summary>
internal static class TuningStepBenchmark
{
    const int Seq = 256;

    /// <summary>Runs the comparison: <c>tuning [turns] [fp32|autocast|bf16] [sequences]</c>.</summary>
    /// <param name="args">What follows the verb.</param>
    /// <returns>The exit code.</returns>
    public static int Run(string[] args)
    {
        int turns = args.Length > 0 ? int.Parse(args[0]) : 5, batch = args.Length > 2 ? int.Parse(args[2]) : 2;
        Precision precision = args.Length > 1 ? Enum.Parse<Precision>(args[1], ignoreCase: true) : Precision.Fp32;
        TorchLibrary.EnsureLoaded();
        OpenElmConfig config = NamedConfigs.Get("openelm-270m");
        Console.WriteLine($"{ParameterCount.Of(config).Total:n0} parameters, batch {batch} x {Seq}, {precision}, {TorchLibrary.Describe().Threads} threads; {MatmulProbe.Measure("cpu", precision) / 1e9:f0} GFLOP/s (1024³)");

        string folder = Directory.CreateTempSubdirectory("openelm-tuning").FullName;
        try
        {
            string model = Path.Combine(folder, "model");
            ModelFolderWriter.Write(model, RandomModel.Create(config, seed: 1));
            using var full = new Method("whole model", model, precision, null, null);
            using var lora = new Method("LoRA, dropout 0.1", model, precision, Adapter(dora: false), null);
            using var dora = new Method("DoRA, dropout 0.1", model, precision, Adapter(dora: true), null);
            using var qlora = new Method("LoRA, dropout 0.1, Q4_0", model, precision, Adapter(dora: false), DType.Q4_0);
            (string Name, Func<int, Cost> Step)[] steps =
            [
                (full.Name, step => full.Measure(batch, step, hasDropout: false)),
                (lora.Name, step => lora.Measure(batch, step, hasDropout: true)),
                ("LoRA, no dropout", step => lora.Measure(batch, step, hasDropout: false)),
                (dora.Name, step => dora.Measure(batch, step, hasDropout: true)),
                ("DoRA, no dropout", step => dora.Measure(batch, step, hasDropout: false)),
                (qlora.Name, step => qlora.Measure(batch, step, hasDropout: true)),
            ];
            List<Cost>[] costs = [.. steps.Select(_ => new List<Cost>())];
            for (int turn = -1; turn < turns; turn++) // the first allocates, and does not count
            {
                for (int i = 0; i < steps.Length; i++)
                {
                    Cost cost = steps[i].Step(turn + 1);
                    if (turn >= 0)
                    {
                        costs[i].Add(cost);
                        Console.WriteLine($"turn {turn + 1}: {steps[i].Name,-24} {cost.Wall,6:f2} s, processor {cost.Cpu,6:f2} s");
                    }
                }
            }

            Console.WriteLine($"medians of {turns} turns; ratios to the whole model's step of the same turn, medians [smallest, largest]");
            for (int i = 0; i < steps.Length; i++)
            {
                double[] wall = [.. costs[i].Zip(costs[0], (a, b) => a.Wall / b.Wall).Order()], cpu = [.. costs[i].Zip(costs[0], (a, b) => a.Cpu / b.Cpu).Order()];
                Console.WriteLine(
                    $"{steps[i].Name,-24} {Median(costs[i].Select(c => c.Wall)),6:f2} s, processor {Median(costs[i].Select(c => c.Cpu)),6:f2} s; " +
                    $"by the clock {wall[turns / 2]:f2}x [{wall[0]:f2}, {wall[^1]:f2}], by processor time {cpu[turns / 2]:f2}x [{cpu[0]:f2}, {cpu[^1]:f2}]");
            }

            return 0;
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    static AdapterConfig Adapter(bool dora) => new()
    {
        Rules = [new AdapterRule { Modules = ".*out_proj.*", Dora = dora }, new AdapterRule { Modules = ".*qkv_proj.*", Dora = dora }, new AdapterRule { Modules = @".*proj_\d.*", Dora = dora }],
    };

    static double Median(IEnumerable<double> values) => values.Order().ElementAt(values.Count() / 2);

    /// <param name="Wall">Seconds of the clock.</param>
    /// <param name="Cpu">Seconds of all processors, which other programs disturb less.</param>
    readonly record struct Cost(double Wall, double Cpu);

    sealed class Method : IDisposable
    {
        readonly OpenElmModule _module;
        readonly AdamW _optimizer;
        readonly CausalLMLoss _loss = new();

        public Method(string name, string folder, Precision precision, AdapterConfig? adapter, DType? baseWeights)
        {
            Name = name;
            _module = new OpenElmModule(NamedConfigs.Get("openelm-270m"), new ModuleOptions { Precision = precision, BaseWeights = baseWeights });
            using (var model = ModelFolder.Open(folder))
            {
                _module.Load(model);
            }

            if (adapter is not null)
            {
                _module.Adapters.Attach(adapter, seed: 1);
            }

            _optimizer = new AdamW(_module.Trainable) { LearningRate = 1e-4 };
        }

        public string Name { get; }

        /// <summary>One update: forward, loss, backward, clipping, AdamW.</summary>
        public Cost Measure(int batch, int step, bool hasDropout)
        {
            using var process = Process.GetCurrentProcess();
            TimeSpan before = process.TotalProcessorTime;
            var watch = Stopwatch.StartNew();
            Update(batch, step, hasDropout);
            process.Refresh();
            return new Cost(watch.Elapsed.TotalSeconds, (process.TotalProcessorTime - before).TotalSeconds);
        }

        public void Dispose()
        {
            _optimizer.Dispose();
            _module.Dispose();
        }

        void Update(int batch, int step, bool hasDropout)
        {
            using var scope = NewDisposeScope();
            var random = new Random(step);
            Tensor ids = tensor([.. Enumerable.Range(0, batch * (Seq + 1)).Select(_ => (long)random.Next(_module.Config.VocabSize))], [batch, Seq + 1]);
            _module.Adapters.Dropout = hasDropout ? new DropoutKey(1, step, 0) : null;
            LossResult loss = _loss.Compute(_module, ids.narrow(1, 0, Seq).contiguous(), ids.narrow(1, 1, Seq).contiguous());
            loss.Total.backward();
            GradientClipping.ClipByGlobalNorm(_module.Trainable, 1.0).Dispose();
            _optimizer.Step();
            _optimizer.ZeroGrad();
        }
    }
}
