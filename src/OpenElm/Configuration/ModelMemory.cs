namespace OpenElm.Configuration;

/// <summary>Bytes that training in fp32 needs, from shapes alone; <c>openelm pretrain --plan</c> knows a run's own settings.</summary>
/// <param name="Weights">The weights.</param>
/// <param name="Gradients">One gradient a weight.</param>
/// <param name="OptimizerState">AdamW's two moments.</param>
/// <param name="Activations">Estimate: what one micro-batch keeps for its backward pass, and the logits of the loss.</param>
public readonly record struct TrainingMemory(long Weights, long Gradients, long OptimizerState, long Activations)
{
    const long LogitBytesAtOnce = 16L << 20; // a chunk should stay in the last-level cache between the three passes of the loss

    /// <summary>All of it.</summary>
    public long Total => Weights + Gradients + OptimizerState + Activations;

    /// <summary>Adds up what training keeps.</summary>
    /// <param name="config">The architecture.</param>
    /// <param name="batchSize">Sequences of a micro-batch.</param>
    /// <param name="sequenceLength">Tokens of a sequence.</param>
    /// <returns>The bytes.</returns>
    public static TrainingMemory Of(OpenElmConfig config, int batchSize, int sequenceLength)
    {
        long parameters = ParameterCount.Of(config).Total;
        long tokens = (long)batchSize * sequenceLength;
        return new TrainingMemory(
            Weights: sizeof(float) * parameters,
            Gradients: sizeof(float) * parameters,
            OptimizerState: 2 * sizeof(float) * parameters,
            Activations: (tokens * ActivationBytesPerToken(config, sizeof(float), sizeof(float))) + LogitBytes(config, tokens, sizeof(float)));
    }

    /// <summary>Rows of logits that the loss computes at one time.</summary>
    /// <param name="vocabSize">Numbers of a row.</param>
    /// <param name="productBytes">Bytes of a number.</param>
    /// <returns>16 at least.</returns>
    public static long LossRows(long vocabSize, int productBytes) => Math.Max(16, LogitBytesAtOnce / (vocabSize * productBytes));

    /// <summary>Bytes of the logits that exist at one time.</summary>
    /// <param name="config">The architecture.</param>
    /// <param name="tokens">Tokens of the micro-batch.</param>
    /// <param name="productBytes">Bytes of a number that a matrix product gives.</param>
    /// <returns>The bytes.</returns>
    public static long LogitBytes(OpenElmConfig config, long tokens, int productBytes) => Math.Min(tokens, LossRows(config.VocabSize, productBytes)) * config.VocabSize * productBytes;

    /// <summary>
    /// Estimates what one token makes the model keep for the backward pass. A layer keeps its input and the input of its
    /// feed-forward part (residual stream), both norms' outputs, the fused projection, rotated queries and keys, the
    /// attention's output and its own copies of keys and values, one a query head, and the feed-forward's inner tensors; the
    /// backward pass holds the gradients of one layer's tensors besides. Within 5 % of the peak that was measured on the CPU.
    /// </summary>
    /// <param name="config">The architecture.</param>
    /// <param name="residualBytes">Bytes of a number of the residual stream.</param>
    /// <param name="productBytes">Bytes of a number that goes into a matrix product.</param>
    /// <param name="isCheckpointed">Whether a layer keeps only its input and is computed again in the backward pass.</param>
    /// <returns>The bytes.</returns>
    public static long ActivationBytesPerToken(OpenElmConfig config, int residualBytes, int productBytes, bool isCheckpointed = false)
    {
        long residual = (long)config.ModelDim * residualBytes;
        long[] layers = [.. config.Layers.Select(layer => LayerBytesPerToken(config, layer, residualBytes, productBytes))];
        long kept = isCheckpointed ? (residual * layers.Length) + layers.Max() : layers.Sum();
        return (3 * residual) + kept + layers.Max(); // 3: embedding, final norm's input and output
    }

    /// <summary>What one token makes one layer keep for the backward pass.</summary>
    /// <param name="config">The architecture.</param>
    /// <param name="layer">The layer.</param>
    /// <param name="residualBytes">Bytes of a number of the residual stream.</param>
    /// <param name="productBytes">Bytes of a number that goes into a matrix product.</param>
    /// <returns>The bytes.</returns>
    public static long LayerBytesPerToken(OpenElmConfig config, LayerShape layer, int residualBytes, int productBytes)
    {
        long query = (long)layer.QueryHeads * config.HeadDim, kv = (long)layer.KvHeads * config.HeadDim;
        long inner = (config.FfnWithGlu ? 3L : 2L) * layer.FfnDim;
        return (2L * config.ModelDim * residualBytes) + (productBytes * ((2L * config.ModelDim) + (query + (2 * kv)) + (query + kv) + query + (2 * query) + inner));
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
