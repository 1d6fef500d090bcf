using System.Globalization;
using OpenElm.Configuration;
using OpenElm.Training.Distributed;

namespace OpenElm.Training.Gpu;

/// <summary>
/// Device memory of training by <see cref="GpuUpdate"/>: its buffers have fixed sizes, so all of it is known beforehand. What is not counted
/// is the context of CUDA itself (docs/gpu-training.md compares with measurements).
/// </summary>
/// <param name="WeightBytes">Weights, and their copies in the type of products.</param>
/// <param name="GradientBytes">Gradients of weights.</param>
/// <param name="OptimizerBytes">Moments, and masters of bfloat16 weights.</param>
/// <param name="ActivationBytes">What the forward pass keeps, and what flows through the backward pass.</param>
/// <param name="LossBytes">Logits, whose memory other steps use in turn, or those steps alone where logits lie in gradients.</param>
internal readonly record struct GpuMemory(long WeightBytes, long GradientBytes, long OptimizerBytes, long ActivationBytes, long LossBytes)
{
    const long LibraryBytes = 190L << 20; // machine code of cuBLAS and cuDNN, and libtorch's rounding: measured, for all sizes alike
    const double UsableShare = 0.97; // the context of CUDA and the kernels of its libraries take the rest

    /// <summary>All of it.</summary>
    public long TotalBytes => WeightBytes + GradientBytes + OptimizerBytes + ActivationBytes + LossBytes;

    /// <summary>Counts the buffers.</summary>
    /// <param name="config">The architecture.</param>
    /// <param name="precision">Number formats.</param>
    /// <param name="sequences">Sequences of a micro-batch.</param>
    /// <param name="sequenceLength">Tokens of a sequence.</param>
    /// <param name="accumulates">Whether an update has several micro-batches.</param>
    /// <param name="checkpointing">Whether layers keep only their input.</param>
    /// <param name="eightBits">Whether most products read copies in eight bits.</param>
    public static GpuMemory Of(OpenElmConfig config, Precision precision, int sequences, int sequenceLength, bool accumulates, bool checkpointing, bool eightBits = false)
    {
        (long parameters, long tokens) = (ParameterCount.Of(config).Total, (long)sequences * sequenceLength);
        (int weight, int product) = (precision == Precision.Bf16 ? 2 : 4, precision == Precision.Fp32 ? 4 : 2);
        long width = config.ModelDim, perToken = 0, perTokenBackward = 0, scratch = 0;
        foreach (LayerShape layer in config.Layers)
        {
            long queries = (long)layer.QueryHeads * config.HeadDim, kvs = (long)layer.KvHeads * config.HeadDim;
            long kept = (width * weight)                                                   // the residual stream before the feed-forward network
                + (((3 * queries) + (3 * kvs) + (2L * layer.FfnDim)) * product)            // heads, rotated heads, what attention gave, gates and ups
                + (layer.QueryHeads * sizeof(float));                                      // attention's logarithms of sums
            perToken = checkpointing ? Math.Max(perToken, kept) : perToken + kept;
            // Attention's gradients, and inside its libraries a single-precision sum for queries and one gradient of keys and values a query head.
            perTokenBackward = Math.Max(perTokenBackward, ((queries + (2 * kvs)) * product) + (queries * (sizeof(float) + (2 * product))));
            scratch = Math.Max(scratch, Math.Max(layer.FfnDim, queries));
        }

        perToken += config.NumTransformerLayers * width * weight;                          // the residual stream before attention
        perToken += width * (weight + product + (weight == product ? 0 : product));        // gradient of the residual stream, normed, rounded gradient
        (long gradientBytes, long headBytes) = (parameters * (accumulates ? sizeof(float) : weight), width * config.VocabSize * weight * (config.ShareInputOutputLayers ? 1 : 2));
        bool isElsewhere = GpuGradients.HoldLogits(tokens * config.VocabSize * product, gradientBytes - headBytes, accumulates);
        scratch = isElsewhere ? scratch : Math.Max(scratch, config.VocabSize);
        return new GpuMemory(
            parameters * (weight + (precision == Precision.Autocast ? product : 0)),
            gradientBytes,
            parameters * ((2 * sizeof(float)) + (precision == Precision.Bf16 ? sizeof(float) : 0)),
            (tokens * (perToken + perTokenBackward + GpuBatch.BytesPerToken + (2 * sizeof(float)))) + GpuPass.WorkspaceBytes + LibraryBytes + (eightBits ? GpuEightBits.BytesOf(config, tokens) : 0),
            tokens * scratch * product);
    }

    /// <summary>What a pass takes on a rank of several, beside the weights, gradients and state that ranks may divide (<see cref="RankMemory"/>).</summary>
    /// <param name="config">The architecture.</param>
    /// <param name="trainer">The loop.</param>
    /// <param name="sequences">Sequences of the rank's pass.</param>
    /// <param name="sequenceLength">Tokens of a sequence.</param>
    public static long PassBytesOnRank(OpenElmConfig config, TrainerConfig trainer, int sequences, int sequenceLength)
    {
        var memory = Of(config, trainer.Precision, sequences, sequenceLength, accumulates: true, trainer.ActivationCheckpointing); // gradients are in single precision
        long rounded = trainer.Precision == Precision.Autocast ? 2 * ParameterCount.Of(config).Total : 0;
        return memory.ActivationBytes + memory.LossBytes + rounded;
    }

    /// <summary>The largest micro-batch that fits.</summary>
    /// <param name="config">The architecture.</param>
    /// <param name="precision">Number formats.</param>
    /// <param name="sequenceLength">Tokens of a sequence.</param>
    /// <param name="availableBytes">The device's memory.</param>
    /// <param name="checkpointing">Whether layers keep only their input.</param>
    /// <param name="eightBits">Whether most products read copies in eight bits.</param>
    /// <returns>Sequences; 0 if not even one fits.</returns>
    public static int LargestMicroBatch(OpenElmConfig config, Precision precision, int sequenceLength, long availableBytes, bool checkpointing, bool eightBits = false)
    {
        int sequences = 0;
        while (sequences < 4096 && Of(config, precision, sequences + 1, sequenceLength, accumulates: true, checkpointing, eightBits).TotalBytes <= availableBytes)
        {
            sequences++;
        }

        return sequences;
    }

    /// <summary>What to do about a run that does not fit.</summary>
    /// <param name="config">The architecture.</param>
    /// <param name="options">How the model computes.</param>
    /// <param name="sequences">Sequences of a micro-batch.</param>
    /// <param name="sequenceLength">Tokens of a sequence.</param>
    /// <param name="pass">How passes are made.</param>
    /// <param name="deviceBytes">The device's memory.</param>
    /// <returns>A message: what is needed, which setting to change and what would fit.</returns>
    public static string TooLarge(OpenElmConfig config, ModuleOptions options, int sequences, int sequenceLength, GpuPassOptions pass, long deviceBytes)
    {
        (Precision precision, bool checkpointing) = (options.Precision, options.ActivationCheckpointing);
        long available = (long)(UsableShare * deviceBytes);
        long needed = Of(config, precision, sequences, sequenceLength, pass.Accumulates, checkpointing, pass.EightBits).TotalBytes;
        (int fits, int fitsCheckpointed) = (Largest(checkpointing), Largest(checkpointing: true));
        string checkpointed = !checkpointing && fitsCheckpointed > fits ? $", or set trainer.activation_checkpointing, with which {Math.Min(fitsCheckpointed, sequences)} fit," : "";
        return string.Create(CultureInfo.InvariantCulture, $"Training needs about {needed / 1e9:0.0} GB of the GPU's {deviceBytes / 1e9:0.0} GB, which are not free. ")
            + (fits > 0 ? $"Set trainer.micro_batch to {Math.Min(fits, sequences)} or less (it is {sequences}) and raise trainer.accumulation instead{checkpointed} or end other programs on this GPU."
                : fitsCheckpointed > 0 && !checkpointing ? $"Set trainer.activation_checkpointing and trainer.micro_batch to {Math.Min(fitsCheckpointed, sequences)} or less (it is {sequences})."
                : "Not even one sequence fits: choose a smaller model, or shorten data.sequence_length.");

        int Largest(bool checkpointing) => LargestMicroBatch(config, precision, sequenceLength, available, checkpointing, pass.EightBits);
    }
}
