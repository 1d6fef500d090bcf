using System.Collections.Immutable;
using System.Diagnostics;
using OpenElm.Checkpoints;
using OpenElm.Configuration;
using OpenElm.Cuda;
using OpenElm.Data;
using OpenElm.Diagnostics;
using OpenElm.Distributed;
using OpenElm.Training.Distributed;
using OpenElm.Training.Gpu;
using OpenElm.Training.Objectives;
using OpenElm.Training.Torch;
using TorchSharp;

namespace OpenElm.Training.Benchmarking;

/// <summary>What is measured.</summary>
public sealed record TrainingBenchmarkOptions
{
    /// <summary>The architecture.</summary>
    public required OpenElmConfig Config { get; init; }

    /// <summary><c>cpu</c>, <c>cuda</c> or <c>cuda:N</c>.</summary>
    public string Device { get; init; } = "cpu";

    /// <summary>Number formats.</summary>
    public Precision Precision { get; init; } = Precision.Bf16;

    /// <summary>Kernels.</summary>
    public KernelChoice Kernels { get; init; } = KernelChoice.Auto;

    /// <summary>Whether layers are computed again in the backward pass.</summary>
    public bool ActivationCheckpointing { get; init; }

    /// <summary>Whether gradients have the same bits every time.</summary>
    public bool Deterministic { get; init; }

    /// <summary>Whether most matrix products read copies in eight bits.</summary>
    public bool Fp8Products { get; init; }

    /// <summary>Whether SwiGLU may be computed in the last step of products.</summary>
    public bool SwigluInProducts { get; init; } = true;

    /// <summary>Whether the launches of a pass are recorded once and then sent together.</summary>
    public bool CudaGraphs { get; init; } = true;

    /// <summary>Sequences of a micro-batch.</summary>
    public int MicroBatch { get; init; } = 8;

    /// <summary>Micro-batches of an update.</summary>
    public int Accumulation { get; init; } = 1;

    /// <summary>Tokens of a sequence.</summary>
    public int SequenceLength { get; init; } = 2048;

    /// <summary>Updates before the clock starts.</summary>
    public int Warmup { get; init; } = 10;

    /// <summary>Updates of a window.</summary>
    public int StepsPerWindow { get; init; } = 10;

    /// <summary>Windows; the result is their median.</summary>
    public int Windows { get; init; } = 5;

    /// <summary>The ranks that train together, each with micro-batches of its own; null for a process that is alone.</summary>
    public IProcessGroup? Group { get; init; }

    /// <summary>What is divided among the ranks; null leaves it to their number.</summary>
    public Sharding? Sharding { get; init; }

    /// <summary>Whether the kernels of three more updates are recorded.</summary>
    public bool Profile { get; init; }
}

/// <summary>What was measured.</summary>
/// <param name="TokensPerSecond">Of each window.</param>
/// <param name="HostSeconds">Of one update that finds the device idle: until everything was handed to it.</param>
/// <param name="StepSeconds">Median over all updates, between marks in the device's stream (on the CPU, of the median window).</param>
/// <param name="FirstStepSeconds">The first update, with everything that is made once.</param>
/// <param name="FlopsPerToken">As <see cref="TrainingPlan.FlopsOf"/> counts.</param>
/// <param name="DeviceBytes">Device memory taken since before the model, including what libtorch keeps in reserve; 0 on the CPU.</param>
/// <param name="FirstLoss">Cross entropy of the first update.</param>
/// <param name="LastLoss">Of the last.</param>
/// <param name="FirstGradientNorm">Of the first update.</param>
/// <param name="UsesFusedGpuKernels">Whether the updates were made by the fused GPU path.</param>
/// <param name="ProductGain">By how much the search for algorithms made matrix products faster, as a factor; 1 without a search.</param>
public sealed record TrainingBenchmarkResult(
    ImmutableArray<double> TokensPerSecond, double HostSeconds, double StepSeconds, double FirstStepSeconds, double FlopsPerToken, long DeviceBytes,
    double FirstLoss, double LastLoss, double FirstGradientNorm, bool UsesFusedGpuKernels, double ProductGain)
{
    /// <summary>Where the time of an update goes; empty without a profile.</summary>
    public ImmutableArray<ProfiledKernel> Kernels { get; init; } = [];

    /// <summary>Where products have SwiGLU in their last step; null off the fused GPU path.</summary>
    public SwiGluInProducts? SwiGluInProducts { get; init; }

    /// <summary>What was divided among the ranks.</summary>
    public Sharding Sharding { get; init; }

    /// <summary>The share of the profiled time in which no kernel ran.</summary>
    public double IdleShare { get; init; }

    /// <summary>Why the updates were slower than they could be; null if nothing was lost.</summary>
    public string? Slowdown { get; init; }

    /// <summary>The share of the windows in which exchanges of host memory were under way; 0 where none were needed.</summary>
    public double ExchangeShare { get; init; }

    /// <summary>What computed: the name of the GPU, or of the processor.</summary>
    public string Processor { get; init; } = "";

    /// <summary>Device memory that the plan foresees for the fused GPU path; 0 on others.</summary>
    public long PlannedBytes { get; init; }

    /// <summary>The median of the windows.</summary>
    public double MedianTokensPerSecond => TokensPerSecond.Order().ElementAt(TokensPerSecond.Length / 2);
}

/// <summary>One kernel in a profile.</summary>
/// <param name="Name">Its name.</param>
/// <param name="CallsPerStep">Launches of an update.</param>
/// <param name="MicrosecondsPerStep">Time of an update.</param>
/// <param name="Share">Of the time of all kernels.</param>
/// <param name="IdleBefore">Microseconds of an update in which nothing ran until this kernel began.</param>
public sealed record ProfiledKernel(string Name, double CallsPerStep, double MicrosecondsPerStep, double Share, double IdleBefore);

/// <summary>Measures updates of a model with random weights on random tokens: forward and backward pass, clipping, AdamW.</summary>
public static class TrainingBenchmark
{
    const int ProfiledSteps = 3, PaddingId = 32000, Batches = 4;

    /// <summary>Runs the benchmark.</summary>
    /// <param name="options">What to measure.</param>
    /// <param name="cancel">Ends it.</param>
    /// <returns>The measurements.</returns>
    public static TrainingBenchmarkResult Run(TrainingBenchmarkOptions options, CancellationToken cancel = default)
    {
        ArgumentNullException.ThrowIfNull(options);
        bool isCpu = options.Device == "cpu";
        using (torch.Tensor first = torch.zeros(1, device: TorchLibrary.Device(options.Device))) // libtorch's own context is not the model's
        {
            CudaLibraries.SearchBeside(TorchLibrary.Describe().Folder);
        }

        CudaDevice? device = isCpu ? null : new CudaDevice(Math.Max(0, TorchLibrary.Device(options.Device).index));
        long before = isCpu ? 0 : CudaDevice.Memory.Used;
        using Trainer<TokenBatch> trainer = CreateTrainer(options);
        TokenBatch[] batches = [.. Enumerable.Range(0, Batches).Select(i => RandomBatch(options, (Batches * (options.Group?.Rank ?? 0)) + i))];
        int ranks = options.Group?.Size ?? 1;
        double tokens = (double)ranks * options.Accumulation * options.MicroBatch * options.SequenceLength;
        int next = 0;

        long start = Stopwatch.GetTimestamp();
        (double firstLoss, double firstNorm) = Read(Update(), options.Group);
        double firstSeconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
        for (int i = 1; i < options.Warmup; i++)
        {
            Update().Dispose();
        }

        var rates = new List<double>();
        var stepSeconds = new List<double>();
        CudaEvent[] marks = isCpu ? [] : [.. Enumerable.Range(0, options.StepsPerWindow + 1).Select(_ => new CudaEvent())];
        double lastLoss = firstLoss, exchanging = 0, measured = 0;
        for (int window = 0; window < options.Windows; window++)
        {
            cancel.ThrowIfCancellationRequested();
            Wait(device);
            options.Group?.Barrier();
            TimeSpan exchangedBefore = options.Group?.Exchanging ?? default;
            start = Stopwatch.GetTimestamp();
            Mark(0);
            for (int i = 1; i < options.StepsPerWindow; i++)
            {
                Update().Dispose();
                Mark(i);
            }

            StepResult last = Update();
            Mark(options.StepsPerWindow);
            Wait(device);
            double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
            exchanging += ((options.Group?.Exchanging ?? default) - exchangedBefore).TotalSeconds;
            measured += seconds;
            rates.Add(options.StepsPerWindow * tokens / seconds);
            stepSeconds.AddRange(isCpu ? [seconds / options.StepsPerWindow] : marks.Skip(1).Zip(marks, (end, begin) => end.MillisecondsSince(begin) / 1000.0));
            (lastLoss, _) = Read(last, options.Group);
        }

        start = Stopwatch.GetTimestamp();
        StepResult alone = Update();
        double hostSeconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
        alone.Dispose();
        Array.ForEach(marks, mark => mark.Dispose());
        var result = new TrainingBenchmarkResult(
            [.. rates], hostSeconds, stepSeconds.Order().ElementAt(stepSeconds.Count / 2), firstSeconds,
            TrainingPlan.FlopsOf(options.Config, options.SequenceLength), isCpu ? 0 : CudaDevice.Memory.Used - before, firstLoss, lastLoss, firstNorm, trainer.Gpu is not null,
            trainer.Gpu?.Pass.ProductTimings is { Count: > 0 } timings ? timings.Sum(timing => timing.FirstMicroseconds) / timings.Sum(timing => timing.BestMicroseconds) : 1);
        result = result with { ExchangeShare = exchanging / measured, Sharding = trainer.Sharding, SwiGluInProducts = trainer.Gpu?.Pass.SwiGluInProducts, Processor = device?.Name ?? Machine.Current().Cpu };
        if (trainer.Gpu is not null)
        {
            TrainerConfig loop = LoopOf(options);
            result = result with
            {
                Slowdown = trainer.Slowdown,
                PlannedBytes = options.Group is { } group
                    ? RankMemory.Of(options.Config, loop).Bytes(trainer.Sharding, group.Size) + GpuMemory.PassBytesOnRank(options.Config, loop, options.MicroBatch, options.SequenceLength)
                    : GpuMemory.Of(options.Config, options.Precision, options.MicroBatch, options.SequenceLength, options.Accumulation > 1, options.ActivationCheckpointing, options.Fp8Products).TotalBytes,
            };
        }

        return options.Profile && device is not null ? WithProfile(result, device, () => Update().Dispose()) : result;

        void Mark(int number)
        {
            if (!isCpu)
            {
                marks[number].Record(0);
            }
        }

        StepResult Update() => trainer.MakeUpdate([.. Enumerable.Range(0, options.Accumulation).Select(_ => batches[next++ % Batches])]);
    }

    static Trainer<TokenBatch> CreateTrainer(TrainingBenchmarkOptions options)
    {
        var run = new RunConfig
        {
            Output = "benchmark",
            Model = new ModelConfig(),
            Tokenizer = new TokenizerConfig(),
            Data = null!,
            Distributed = new DistributedConfig { Sharding = options.Sharding },
            Schedule = new ScheduleConfig { MaxLearningRate = 1e-4, MinLearningRate = 1e-4, WarmupIterations = 0 },
            Trainer = LoopOf(options),
        };
        var module = new OpenElmModule(options.Config, run.Trainer.ModuleOptions(options.Device) with { PaddingId = PaddingId < options.Config.VocabSize ? PaddingId : null });
        module.Initialize(seed: 0);
        return new Trainer<TokenBatch>(run, module, new CausalLMObjective(run.Loss, PaddingId), new ModelFiles(new ModelContent(options.Config, [])), options.Group);
    }

    static TrainerConfig LoopOf(TrainingBenchmarkOptions options) => new()
    {
        Steps = int.MaxValue - 1,
        MicroBatch = options.MicroBatch,
        Accumulation = options.Accumulation * (options.Group?.Size ?? 1),
        Precision = options.Precision,
        Kernels = options.Kernels,
        ActivationCheckpointing = options.ActivationCheckpointing,
        Deterministic = options.Deterministic,
        CudaGraphs = options.CudaGraphs,
        Fp8Products = options.Fp8Products,
        SwigluInProducts = options.SwigluInProducts,
    };

    static TokenBatch RandomBatch(TrainingBenchmarkOptions options, int seed)
    {
        var random = new Random(seed);
        int length = options.SequenceLength, most = Math.Min(PaddingId, options.Config.VocabSize);
        var batch = new TokenBatch(new int[options.MicroBatch * length], new int[options.MicroBatch * length], options.MicroBatch, length, seed, "random tokens");
        for (int row = 0; row < options.MicroBatch; row++)
        {
            int[] tokens = [.. Enumerable.Range(0, length + 1).Select(_ => random.Next(3, most))];
            tokens.AsSpan(0, length).CopyTo(batch.Inputs.AsSpan(row * length));
            tokens.AsSpan(1).CopyTo(batch.Targets.AsSpan(row * length));
        }

        return batch;
    }

    static (double Loss, double GradientNorm) Read(StepResult step, IProcessGroup? group)
    {
        using (step)
        {
            double own = step.Measured[0].item<float>();
            return (group?.AllGather<double>([own]).Sum() ?? own, step.GradientNorm.item<float>());
        }
    }

    static void Wait(CudaDevice? device)
    {
        if (device is not null)
        {
            CudaDevice.Synchronize(0);
        }
    }

    static TrainingBenchmarkResult WithProfile(TrainingBenchmarkResult result, CudaDevice device, Action update)
    {
        Wait(device);
        KernelTrace.Start();
        update();
        Wait(device);
        KernelTrace.Clear();
        for (int i = 0; i < ProfiledSteps; i++)
        {
            update();
        }

        Wait(device);
        IReadOnlyList<TracedKernel> kernels = KernelTrace.Stop();
        if (kernels is [])
        {
            return result;
        }

        long end = kernels[0].Start;
        var idle = new Dictionary<string, long>();
        foreach (TracedKernel kernel in kernels)
        {
            idle[kernel.Name] = idle.GetValueOrDefault(kernel.Name) + Math.Max(0, kernel.Start - end);
            end = Math.Max(end, kernel.End);
        }

        double all = kernels.Sum(kernel => (double)(kernel.End - kernel.Start));
        return result with
        {
            IdleShare = 1 - (KernelTrace.BusyNanoseconds(kernels) / (double)(end - kernels[0].Start)),
            Kernels = [.. kernels.GroupBy(kernel => kernel.Name)
                .Select(group => (group.Key, Count: group.Count(), Time: group.Sum(kernel => (double)(kernel.End - kernel.Start))))
                .OrderByDescending(group => group.Time)
                .Select(group => new ProfiledKernel(group.Key, group.Count / (double)ProfiledSteps, group.Time / 1000 / ProfiledSteps, group.Time / all, idle[group.Key] / 1000.0 / ProfiledSteps))],
        };
    }
}
