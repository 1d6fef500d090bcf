using OpenElm.Adapters;
using OpenElm.Checkpoints;
using OpenElm.Configuration;
using OpenElm.Training.Distributed;
using OpenElm.Training.Gpu;

namespace OpenElm.Training;

/// <summary>
/// What a run will need, from its configuration alone: bytes by purpose, arithmetic, and from a measured matmul rate the
/// time. Nothing is allocated. Activations are those the backward pass keeps (docs/numerics.md says which).
/// </summary>
public sealed record TrainingPlan
{
    /// <summary>The share of the matmul rate that a training step reaches, from the benchmarks of this project.</summary>
    public const double ExpectedUtilisation = 0.5;

    // Measured on linux-x64: libtorch, the runtime, buffers of the data pipeline; and a piece of the tokenizer in all its tables.
    const long LibraryBytes = 190L << 20, BytesOfPiece = 2 << 10;

    // Freed tensors leave holes between living ones, which glibc keeps: measured, as much as the tensors of a few layers in single precision, whatever
    // the run's; less where gradients of the weights fill them.
    const int LayersHeldBack = 2, LayersHeldBackBesideAdapters = 4;

    /// <summary>Parameters of the model.</summary>
    public required long Parameters { get; init; }

    /// <summary>Parameters that are trained: all of the model, or those of adapters.</summary>
    public required long TrainedParameters { get; init; }

    /// <summary>Bytes of the weights the forward pass reads.</summary>
    public required long WeightBytes { get; init; }

    /// <summary>Bytes of the gradients.</summary>
    public required long GradientBytes { get; init; }

    /// <summary>Bytes of AdamW's moments, of the fp32 master weights where the model is bf16, and of the moving average.</summary>
    public required long OptimizerBytes { get; init; }

    /// <summary>Bytes of the activations of one micro-batch.</summary>
    public required long ActivationBytes { get; init; }

    /// <summary>Bytes of the logits that exist at one time, and of what the loss makes of the head: its gradient before it is scaled, its packed copy.</summary>
    public required long LossBytes { get; init; }

    /// <summary>Bytes that the memory allocator holds back between tensors.</summary>
    public required long AllocatorBytes { get; init; }

    /// <summary>Bytes of the program itself, its tokenizer included.</summary>
    public required long ProgramBytes { get; init; }

    /// <summary>Bytes of one checkpoint on the disk.</summary>
    public required long CheckpointBytes { get; init; }

    /// <summary>Token positions of one update.</summary>
    public required long TokensPerStep { get; init; }

    /// <summary>Token positions of the run.</summary>
    public required long Tokens { get; init; }

    /// <summary>Floating-point operations of one token, forward and backward.</summary>
    public required double FlopsPerToken { get; init; }

    /// <summary>All bytes that are there at once.</summary>
    public long TotalBytes => WeightBytes + GradientBytes + OptimizerBytes + ActivationBytes + LossBytes + AllocatorBytes + ProgramBytes;

    /// <summary>What ranks divide; null where adapters are trained, which are small.</summary>
    internal RankMemory? Divided { get; init; }

    /// <summary>Sequences of the update that a forward pass takes, and passes of an update.</summary>
    internal (int MicroBatch, int Accumulation) Update { get; init; }

    /// <summary>On a GPU what a pass over some sequences takes on a rank of several, beside weights, gradients and optimizer; null counts in proportion.</summary>
    internal Func<int, long>? PassBytesOnRank { get; init; }

    /// <summary>All bytes of one rank of several (docs/distributed.md).</summary>
    /// <param name="sharding">What is divided among the ranks.</param>
    /// <param name="ranks">How many there are; they share the sequences of the update.</param>
    /// <returns>Bytes; null where this is not planned.</returns>
    public long? BytesOnRank(Sharding sharding, int ranks)
    {
        int parts = Math.Clamp(ranks / Math.Max(1, Update.Accumulation), 1, Math.Max(1, Update.MicroBatch)); // of a micro-batch
        return Divided?.Bytes(sharding, ranks) + (PassBytesOnRank is { } pass ? pass(Update.MicroBatch / parts) : ((ActivationBytes + LossBytes + AllocatorBytes) / parts) + ProgramBytes);
    }

    /// <summary>The time of the run.</summary>
    /// <param name="flopsPerSecond">The machine's measured matmul rate.</param>
    /// <returns>The expected time at <see cref="ExpectedUtilisation"/>.</returns>
    public TimeSpan Time(double flopsPerSecond)
    {
        double seconds = Tokens * FlopsPerToken / (flopsPerSecond * ExpectedUtilisation);
        return seconds < TimeSpan.MaxValue.TotalSeconds ? TimeSpan.FromSeconds(seconds) : TimeSpan.MaxValue;
    }

    /// <summary>Operations of one token, forward and backward: 6 N for the products, 6 (S + 1) Σ heads · head size for causal attention.</summary>
    /// <param name="config">The architecture.</param>
    /// <param name="sequenceLength">Tokens in a sequence.</param>
    /// <returns>Floating-point operations.</returns>
    public static double FlopsOf(OpenElmConfig config, int sequenceLength) =>
        (6.0 * ParameterCount.Of(config).Total) + (6.0 * (sequenceLength + 1) * config.Layers.Sum(layer => (long)layer.QueryHeads) * config.HeadDim);

    /// <summary>Plans a run.</summary>
    /// <param name="run">The run.</param>
    /// <param name="device"><c>cpu</c>, <c>cuda</c> or <c>cuda:N</c>; on a GPU the buffers of the fused kernels are counted, unless the run chooses others.</param>
    /// <returns>The plan.</returns>
    public static TrainingPlan Of(RunConfig run, string device = "cpu")
    {
        ArgumentNullException.ThrowIfNull(run);
        ArgumentNullException.ThrowIfNull(device);
        (OpenElmConfig config, TrainerConfig trainer) = (run.Model.Resolve(), run.Trainer);
        var plan = Of(config, trainer, run.Data.SequenceLength);
        if (device == "cpu" || trainer.Kernels is not (KernelChoice.Auto or KernelChoice.Fused))
        {
            return plan;
        }

        var memory = GpuMemory.Of(config, trainer.Precision, trainer.MicroBatch, run.Data.SequenceLength, accumulates: trainer.Accumulation > 1, trainer.ActivationCheckpointing, trainer.Fp8Products);
        return plan with
        {
            WeightBytes = memory.WeightBytes,
            GradientBytes = memory.GradientBytes,
            OptimizerBytes = memory.OptimizerBytes + (trainer.EmaMomentum > 0 ? 4 * plan.Parameters : 0),
            ActivationBytes = memory.ActivationBytes,
            LossBytes = memory.LossBytes,
            AllocatorBytes = 0, // buffers are fixed; what libraries take is counted with the activations
            ProgramBytes = 0,
            PassBytesOnRank = sequences => GpuMemory.PassBytesOnRank(config, trainer, sequences, run.Data.SequenceLength),
        };
    }

    /// <summary>Plans the training of a whole model, or of adapters beside its frozen weights.</summary>
    /// <param name="config">The architecture.</param>
    /// <param name="trainer">The loop.</param>
    /// <param name="sequenceLength">Tokens in a sequence.</param>
    /// <param name="adapted">The modules with adapters; none trains the whole model.</param>
    /// <param name="baseWeights">The block format of the frozen matrices beside adapters; null for tensors.</param>
    /// <returns>The plan.</returns>
    public static TrainingPlan Of(OpenElmConfig config, TrainerConfig trainer, int sequenceLength, IReadOnlyCollection<AdaptedModule>? adapted = null, DType? baseWeights = null)
    {
        ArgumentNullException.ThrowIfNull(config);
        ArgumentNullException.ThrowIfNull(trainer);
        long parameters = ParameterCount.Of(config).Total;
        bool bf16 = trainer.Precision == Precision.Bf16;
        long tokens = (long)trainer.MicroBatch * sequenceLength;
        int weightBytes = bf16 ? 2 : 4, productBytes = trainer.Precision == Precision.Fp32 ? 4 : 2;

        // Adapters are in single precision whatever the model's type, so they have no master copy.
        bool isWhole = adapted is null or { Count: 0 };
        long trained = isWhole ? parameters : adapted!.Sum(module => module.Parameters);
        int ema = trainer.EmaMomentum > 0 ? 4 : 0;
        long headNumbers = (long)config.VocabSize * config.ModelDim;
        long[] adapterLayers = AdapterBytesPerToken(adapted ?? [], productBytes, doraOutputs: 1);
        // A layer that is computed again finds the holes that the one behind it has left.
        long[] passing = AdapterBytesPerToken(adapted ?? [], sizeof(float), doraOutputs: trainer.ActivationCheckpointing ? 1 : 3);
        long largestLayer = config.Layers.Max(layer => TrainingMemory.LayerBytesPerToken(config, layer, sizeof(float), sizeof(float))) + passing.DefaultIfEmpty().Max();
        return new TrainingPlan
        {
            Divided = isWhole ? RankMemory.Of(config, trainer) : null,
            Update = (trainer.MicroBatch, trainer.Accumulation),
            Parameters = parameters,
            TrainedParameters = trained,
            WeightBytes = isWhole
                ? parameters * (trainer.Precision == Precision.Autocast ? weightBytes + 2 : weightBytes) // autocast keeps a bf16 copy of every matrix through the step
                : FrozenBytes(config, new ModuleOptions { Precision = trainer.Precision, BaseWeights = baseWeights }, weightBytes, productBytes) + (4 * trained),
            GradientBytes = trained * (isWhole ? weightBytes : 4),
            OptimizerBytes = trained * (8 + (isWhole && bf16 ? 4 : 0) + ema),
            ActivationBytes = tokens * (ActivationBytesPerToken(config, trainer) + (trainer.ActivationCheckpointing ? adapterLayers.DefaultIfEmpty().Max() : adapterLayers.Sum())),
            LossBytes = TrainingMemory.LogitBytes(config, tokens, productBytes) + (headNumbers * HeadBytes(isWhole, isReduced: productBytes == 2)),
            AllocatorBytes = (isWhole ? LayersHeldBack : LayersHeldBackBesideAdapters) * tokens * largestLayer,
            ProgramBytes = LibraryBytes + (BytesOfPiece * config.VocabSize),
            CheckpointBytes = trained * (4 + 8 + ema),
            TokensPerStep = tokens * trainer.Accumulation,
            Tokens = tokens * trainer.Accumulation * trainer.Steps,
            // Frozen products have no gradient of their weights: a third of their work.
            FlopsPerToken = FlopsOf(config, sequenceLength) - (isWhole ? 0 : (2.0 * parameters) - (6.0 * trained)),
        };
    }

    // The head's gradient is summed in single precision; from products in bfloat16, which it is rounded to at the end. oneDNN packs a head in bfloat16.
    static int HeadBytes(bool isWhole, bool isReduced) => (isWhole ? 4 : 0) + (isReduced ? 2 : 0) + (isWhole && isReduced ? 4 : 0);

    // The weights beside adapters; where a matrix is not in the type of products, also its numbers while it is used.
    static long FrozenBytes(OpenElmConfig config, ModuleOptions options, int weightBytes, int productBytes)
    {
        long held = 0, largest = 0;
        foreach (TensorShape weight in TensorShapes.Of(config))
        {
            bool isMatrix = weight.Shape.Length == 2, isOfLayer = weight.Name.StartsWith("layers.", StringComparison.Ordinal);
            DType? blocks = isMatrix && isOfLayer ? options.BlocksOf(weight.Shape[1]) : null;
            held += blocks?.ByteCount(weight.Shape) ?? weight.Elements * weightBytes;
            largest = isMatrix && (blocks is not null || weightBytes != productBytes) ? Math.Max(largest, weight.Elements * productBytes) : largest;
        }

        return held + largest;
    }

    // Beside what the model keeps (the masked input of a linear layer takes the place of the plain one), for each layer: A·x', and for DoRA
    // tensors as wide as the output: it keeps the sum that its magnitude is multiplied with, and two more pass.
    static long[] AdapterBytesPerToken(IReadOnlyCollection<AdaptedModule> adapted, int productBytes, int doraOutputs) =>
        [.. adapted.GroupBy(module => module.IsEmbedding ? module.Name : string.Join('.', module.Name.Split('.').Take(2)))
            .Select(layer => layer.Sum(module => productBytes * (module.Rank + (module.Dora ? doraOutputs * module.Outputs : 0))))];

    static long ActivationBytesPerToken(OpenElmConfig config, TrainerConfig trainer) => TrainingMemory.ActivationBytesPerToken(
        config,
        residualBytes: trainer.Precision == Precision.Bf16 ? 2 : 4,
        productBytes: trainer.Precision == Precision.Fp32 ? 4 : 2,
        trainer.ActivationCheckpointing);
}
