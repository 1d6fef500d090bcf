using System.CommandLine;
using OpenElm.Configuration;
using OpenElm.Diagnostics;
using OpenElm.Distributed;
using OpenElm.Training;
using OpenElm.Training.Benchmarking;
using OpenElm.Training.Torch;

namespace OpenElm.Cli.Commands;

/// <summary>Measures training updates of a shipped architecture with random weights.</summary>
internal static class BenchTrainCommand
{
    const double DatasheetFlops = 989e12; // dense bfloat16 of H100 and H200

    public static Command Create(ConsoleContext context)
    {
        var size = new Option<string>("--size") { Description = "The architecture", DefaultValueFactory = _ => "openelm-270m" };
        size.AcceptOnlyFromAmong([.. NamedConfigs.Names]);
        var vocab = new Option<int>("--vocab") { Description = "Rows of the embedding", DefaultValueFactory = _ => 32128 };
        var kernels = new Option<KernelChoice>("--kernels") { Description = "Which kernels run", DefaultValueFactory = _ => KernelChoice.Auto };
        var precision = new Option<Precision>("--precision") { Description = "Number formats", DefaultValueFactory = _ => Precision.Bf16 };
        var checkpointing = new Option<bool>("--activation-checkpointing") { Description = "Compute layers again in the backward pass" };
        var deterministic = new Option<bool>("--deterministic") { Description = "The same bits every time (GPU)" };
        var fp8 = new Option<bool>("--fp8-products") { Description = "Most matrix products in eight bits (GPU)" };
        var joined = new Option<bool>("--swiglu-in-products") { Description = "SwiGLU in the last step of the products beside it, where that is faster (GPU)", DefaultValueFactory = _ => true };
        var graphs = new Option<bool>("--cuda-graphs") { Description = "Record the launches of a pass once and send them together (GPU)", DefaultValueFactory = _ => true };
        var microBatch = new Option<int>("--micro-batch") { Description = "Sequences of a forward pass", DefaultValueFactory = _ => 8 };
        var accumulation = new Option<int>("--accumulation") { Description = "Forward passes of an update", DefaultValueFactory = _ => 1 };
        var length = new Option<int>("--sequence-length") { Description = "Tokens of a sequence", DefaultValueFactory = _ => 2048 };
        var warmup = new Option<int>("--warmup") { Description = "Updates before the clock starts", DefaultValueFactory = _ => 10 };
        var steps = new Option<int>("--steps") { Description = "Updates of a window", DefaultValueFactory = _ => 10 };
        var windows = new Option<int>("--windows") { Description = "Windows; the result is their median", DefaultValueFactory = _ => 5 };
        var sharding = new Option<Sharding?>("--sharding") { Description = "What is divided among the ranks that mpirun started, instead of the optimizer's state; each has micro-batches of its own" };
        var profile = new Option<bool>("--profile") { Description = "Also say where the time of an update goes, kernel by kernel (GPU)" };
        Option<string> device = SharedOptions.Device();
        Option<string?> torchFolder = SharedOptions.TorchFolder();
        var command = new Command("train", "Measure training: updates of a shipped architecture with random weights, on random tokens")
        {
            size, vocab, device, torchFolder, kernels, precision, checkpointing, deterministic, fp8, joined, graphs, microBatch, accumulation, length, warmup, steps, windows, sharding, profile,
        };
        command.SetAction(parsed =>
        {
            TorchLibrary.EnsureLoaded(new TorchOptions { Folder = parsed.GetValue(torchFolder) });
            Job.Run(context, group => Run(parsed, group));
        });

        void Run(ParseResult parsed, IProcessGroup? group)
        {
            Job.ShareCores(group);
            var options = new TrainingBenchmarkOptions
            {
                Config = NamedConfigs.Get(parsed.GetValue(size)!) with { VocabSize = parsed.GetValue(vocab) },
                Device = Job.DeviceOf(parsed.GetValue(device)!, group),
                Group = group,
                Sharding = parsed.GetValue(sharding),
                Kernels = parsed.GetValue(kernels),
                Precision = parsed.GetValue(precision),
                ActivationCheckpointing = parsed.GetValue(checkpointing),
                Deterministic = parsed.GetValue(deterministic),
                Fp8Products = parsed.GetValue(fp8),
                SwigluInProducts = parsed.GetValue(joined),
                CudaGraphs = parsed.GetValue(graphs),
                MicroBatch = parsed.GetValue(microBatch),
                Accumulation = parsed.GetValue(accumulation),
                SequenceLength = parsed.GetValue(length),
                Warmup = parsed.GetValue(warmup),
                StepsPerWindow = parsed.GetValue(steps),
                Windows = parsed.GetValue(windows),
                Profile = parsed.GetValue(profile),
            };
            TrainingBenchmarkResult result = TrainingBenchmark.Run(options, context.Cancellation);
            if (group.IsFirst())
            {
                Print(context, parsed.GetValue(size)!, options, result);
            }
        }

        return command.WithExamples(
            "openelm bench train --size openelm-270m --micro-batch 1 --sequence-length 256 --steps 2",
            "openelm bench train --size openelm-270m --device cuda --kernels fused --profile --json",
            "mpirun -n 2 openelm bench train --size openelm-1.1b --device cuda --sharding optimizer --json");
    }

    static void Print(ConsoleContext context, string size, TrainingBenchmarkOptions options, TrainingBenchmarkResult result)
    {
        double flops = result.FlopsPerToken * result.MedianTokensPerSecond / (options.Group?.Size ?? 1); // of one device
        if (context.IsJson)
        {
            context.WriteJson(new
            {
                Version = Machine.ProgramVersion,
                Size = size,
                Vocab = options.Config.VocabSize,
                options.Device,
                result.Processor,
                Ranks = options.Group?.Size ?? 1,
                result.Sharding,
                result.ExchangeShare,
                Kernels = result.UsesFusedGpuKernels ? KernelChoice.Fused : options.Kernels,
                options.Precision,
                options.ActivationCheckpointing,
                options.Deterministic,
                options.CudaGraphs,
                options.Fp8Products,
                options.MicroBatch,
                options.Accumulation,
                options.SequenceLength,
                options.Warmup,
                options.StepsPerWindow,
                TokensPerSecond = result.MedianTokensPerSecond,
                Windows = result.TokensPerSecond,
                StepMilliseconds = 1000 * result.StepSeconds,
                HostMilliseconds = 1000 * result.HostSeconds,
                result.FirstStepSeconds,
                TeraflopsPerSecond = flops / 1e12,
                Utilisation = flops / DatasheetFlops,
                DeviceGigabytes = result.DeviceBytes / 1e9,
                PlannedGigabytes = result.PlannedBytes / 1e9,
                result.Slowdown,
                result.FirstLoss,
                result.LastLoss,
                result.FirstGradientNorm,
                result.ProductGain,
                result.SwiGluInProducts,
                result.IdleShare,
                KernelTimes = result.Kernels,
            });
            return;
        }

        context.Output.WriteLine($"{size}, {options.Precision}{(options.Fp8Products ? " with products in eight bits" : "")}, {(result.UsesFusedGpuKernels ? KernelChoice.Fused : options.Kernels)} kernels on {options.Device}: "
            + $"{result.MedianTokensPerSecond:n0} tokens/s ({string.Join(' ', result.TokensPerSecond.Select(rate => $"{rate:n0}"))}), median update {1000 * result.StepSeconds:0.00} ms ({options.MicroBatch * options.Accumulation * options.SequenceLength / result.StepSeconds:n0} tokens/s), "
            + $"{flops / 1e12:0.0} TFLOP/s ({flops / DatasheetFlops:0.0%} of {DatasheetFlops / 1e12:0})");
        context.Output.WriteLine($"host {1000 * result.HostSeconds:0.00} ms an update, first update {result.FirstStepSeconds:0.0} s, device memory {result.DeviceBytes / 1e9:0.00} GB (planned {result.PlannedBytes / 1e9:0.00}), "
            + $"loss {result.FirstLoss:0.0000} to {result.LastLoss:0.0000}, first gradient norm {result.FirstGradientNorm:0.0000}, product search {result.ProductGain:0.000}x");
        if (result.SwiGluInProducts is { } swiGlu)
        {
            context.Output.WriteLine($"SwiGLU within products in {swiGlu.Forward} layers forward and {swiGlu.Backward} backward of {swiGlu.Layers}: {swiGlu.Milliseconds:0.00} ms instead of {swiGlu.ApartMilliseconds:0.00}");
        }

        if (result.Slowdown is { } slowdown)
        {
            context.Output.WriteLine(slowdown);
        }

        if (result.Kernels is [])
        {
            return;
        }

        context.Output.WriteLine($"no kernel ran in {result.IdleShare:0.0%} of the profiled time; kernels of an update:");
        var table = new TextTable("us", "calls", "share", "idle before", "kernel");
        foreach (ProfiledKernel kernel in result.Kernels)
        {
            table.Add($"{kernel.MicrosecondsPerStep:0.0}", $"{kernel.CallsPerStep:0.#}", $"{kernel.Share:0.0%}", $"{kernel.IdleBefore:0.0}", kernel.Name.Length > 90 ? kernel.Name[..90] : kernel.Name);
        }

        table.WriteTo(context.Output);
    }
}
