using OpenElm.Configuration;

namespace OpenElm.Training.Gpu;

/// <summary>
/// Device memory of training by <see cref="GpuUpdate"/>: its buffers have fixed sizes, so all of it is known beforehand. What is not counted
/// is libtorch's rounding and the context of CUDA itself (docs/gpu-training.md compares with measurements).
/// </summary>
/// <param name="WeightBytes">Weights, and their copies in the type of products.</param>
/// <param name="GradientBytes">Gradients of weights.</param>
/// <param name="OptimizerBytes">Moments, and masters of bfloat16 weights.</param>
/// <param name="ActivationBytes">What the forward pass keeps, and what flows through the backward pass.</param>
/// <param name="LossBytes">Logits, whose memory other steps use in turn.</param>
internal readonly record struct GpuMemory(long WeightBytes, long GradientBytes, long OptimizerBytes, long ActivationBytes, long LossBytes)
{
    /// <summary>All of it.</summary>
    public long TotalBytes => WeightBytes + GradientBytes + OptimizerBytes + ActivationBytes + LossBytes;

    /// <summary>Counts the buffers.</summary>
    /// <param name="config">The architecture.</param>
    /// <param name="precision">Number formats.</param>
    /// <param name="sequences">Sequences of a micro-batch.</param>
    /// <param name="sequenceLength">Tokens of a sequence.</param>
    /// <param name="accumulates">Whether an update has several micro-batches.</param>
    public static GpuMemory Of(OpenElmConfig config, Precision precision, int sequences, int sequenceLength, bool accumulates)
    {
        (long parameters, long tokens) = (ParameterCount.Of(config).Total, (long)sequences * sequenceLength);
        (int weight, int product) = (precision == Precision.Bf16 ? 2 : 4, precision == Precision.Fp32 ? 4 : 2);
        long width = config.ModelDim, perToken = 0, perTokenBackward = 0, scratch = config.VocabSize;
        foreach (LayerShape layer in config.Layers)
        {
            long queries = (long)layer.QueryHeads * config.HeadDim, kvs = (long)layer.KvHeads * config.HeadDim;
            perToken += (2 * width * weight)                                               // the residual stream before both branches
                + (((3 * queries) + (3 * kvs) + (2L * layer.FfnDim)) * product)            // heads, rotated heads, what attention gave, gates and ups
                + (layer.QueryHeads * sizeof(float));                                      // attention's logarithms of sums
            // Attention's gradients, and inside its libraries a single-precision sum for queries and one gradient of keys and values a query head.
            perTokenBackward = Math.Max(perTokenBackward, ((queries + (2 * kvs)) * product) + (queries * (sizeof(float) + (2 * product))));
            scratch = Math.Max(scratch, Math.Max(layer.FfnDim, queries));
        }

        perToken += width * ((2 * weight) + product + (weight == product ? 0 : product));  // last residual, gradient, normed, rounded gradient
        return new GpuMemory(
            parameters * (weight + (precision == Precision.Autocast ? product : 0)),
            parameters * (accumulates ? sizeof(float) : weight),
            parameters * ((2 * sizeof(float)) + (precision == Precision.Bf16 ? sizeof(float) : 0)),
            (tokens * (perToken + perTokenBackward + (7 * sizeof(float)))) + GpuPass.WorkspaceBytes,
            tokens * scratch * product);
    }

    /// <summary>The largest micro-batch that fits.</summary>
    /// <param name="config">The architecture.</param>
    /// <param name="precision">Number formats.</param>
    /// <param name="sequenceLength">Tokens of a sequence.</param>
    /// <param name="availableBytes">The device's memory.</param>
    /// <returns>Sequences; 0 if not even one fits.</returns>
    public static int LargestMicroBatch(OpenElmConfig config, Precision precision, int sequenceLength, long availableBytes)
    {
        int sequences = 0;
        while (sequences < 4096 && Of(config, precision, sequences + 1, sequenceLength, accumulates: true).TotalBytes <= availableBytes)
        {
            sequences++;
        }

        return sequences;
    }
}
