namespace OpenElm.Configuration;

/// <summary>Bytes that training needs, from shapes alone.</summary>
/// <param name="Weights">The weights, in fp32 (with bf16 parameters, the master copy that the optimizer holds).</param>
/// <param name="Gradients">One gradient a weight.</param>
/// <param name="OptimizerState">AdamW's two moments, in fp32.</param>
/// <param name="Activations">Estimate: what one micro-batch keeps for its backward pass.</param>
public readonly record struct TrainingMemory(long Weights, long Gradients, long OptimizerState, long Activations)
{
    // The loss works through the logits in pieces of this many rows, so that they never exist at once.
    const long LogitRows = 1024;

    /// <summary>All of it.</summary>
    public long Total => Weights + Gradients + OptimizerState + Activations;

    /// <summary>Adds up what training keeps.</summary>
    /// <param name="config">The architecture.</param>
    /// <param name="batchSize">Sequences of a micro-batch.</param>
    /// <param name="sequenceLength">Tokens of a sequence.</param>
    /// <param name="isCheckpointed">Whether a layer keeps only its input and is computed again in the backward pass.</param>
    /// <returns>The bytes, in fp32.</returns>
    public static TrainingMemory Of(OpenElmConfig config, int batchSize, int sequenceLength, bool isCheckpointed = false)
    {
        long parameters = ParameterCount.Of(config).Total;
        long tokens = (long)batchSize * sequenceLength;
        long[] layers = [.. config.Layers.Select(layer => ElementsPerToken(config, layer))];
        long kept = isCheckpointed ? (layers.Length * (long)config.ModelDim) + layers.Max() : layers.Sum();
        long logits = 2 * Math.Min(tokens, LogitRows) * config.VocabSize; // the logits and their gradient
        return new TrainingMemory(
            Weights: sizeof(float) * parameters,
            Gradients: sizeof(float) * parameters,
            OptimizerState: 2 * sizeof(float) * parameters,
            Activations: sizeof(float) * ((tokens * (kept + (2L * config.ModelDim))) + logits)); // 2 modelDim: input and output of the final norm
    }

    /// <summary>What one token makes a layer keep for its backward pass: the inputs of its products, norms, rotation and attention.</summary>
    static long ElementsPerToken(OpenElmConfig config, LayerShape layer)
    {
        long d = config.ModelDim, h = config.HeadDim;
        long rotated = (layer.QueryHeads + layer.KvHeads) * h;
        long attention = (2 * d) // input and output of the norm
            + ((layer.QueryHeads + (2 * layer.KvHeads)) * h) // fused QKV
            + (config.NormalizeQkProjections ? rotated : 0) // output of QK-norm
            + rotated // output of RoPE
            + (layer.QueryHeads * h); // output of attention
        long feedForward = (2 * d) + ((config.FfnWithGlu ? 4L : 2L) * layer.FfnDim); // with a gate: both halves, SiLU, their product
        return attention + feedForward;
    }
}

/// <summary>Bytes that inference needs.</summary>
/// <param name="Weights">The weights.</param>
/// <param name="KvCache">Keys and values of one sequence at its full length.</param>
public readonly record struct InferenceMemory(long Weights, long KvCache)
{
    /// <summary>Both.</summary>
    public long Total => Weights + KvCache;

    /// <summary>Adds up what inference holds for one sequence.</summary>
    /// <param name="config">The architecture.</param>
    /// <param name="length">Tokens of the sequence.</param>
    /// <param name="bytesPerElement">4 for fp32, 2 for bf16.</param>
    /// <returns>The bytes.</returns>
    public static InferenceMemory Of(OpenElmConfig config, int length, int bytesPerElement) =>
        new(bytesPerElement * ParameterCount.Of(config).Total, bytesPerElement * ParameterCount.KvCacheElementsPerToken(config) * length);
}
