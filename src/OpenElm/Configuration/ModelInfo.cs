using System.Collections.Immutable;
using OpenElm.Checkpoints;

namespace OpenElm.Configuration;

/// <summary>What an architecture costs, computed from shapes: no weight is allocated or read.</summary>
/// <param name="Config">The architecture.</param>
/// <param name="Parameters">Exact counts.</param>
/// <param name="LayerParameters">[layers] weights of each layer, its norms included.</param>
/// <param name="KvCacheElementsPerToken">Numbers that one token adds to the cache.</param>
/// <param name="Training">Memory to train, for the batch that was asked about.</param>
/// <param name="InferenceFp32">Memory to generate with fp32 weights and cache, one sequence of the length asked about.</param>
/// <param name="InferenceBf16">The same in bf16.</param>
public sealed record ModelInfo(
    OpenElmConfig Config,
    ParameterCount Parameters,
    ImmutableArray<long> LayerParameters,
    long KvCacheElementsPerToken,
    TrainingMemory Training,
    InferenceMemory InferenceFp32,
    InferenceMemory InferenceBf16)
{
    /// <summary>Describes an architecture.</summary>
    /// <param name="config">The architecture.</param>
    /// <param name="batchSize">Sequences of a training micro-batch.</param>
    /// <param name="sequenceLength">Tokens of a sequence, in training and in the cache.</param>
    /// <returns>The facts.</returns>
    public static ModelInfo Of(OpenElmConfig config, int batchSize, int sequenceLength) => new(
        config,
        ParameterCount.Of(config),
        [.. Enumerable.Range(0, config.Layers.Length).Select(layer => LayerTotal(config, layer))],
        ParameterCount.KvCacheElementsPerToken(config),
        TrainingMemory.Of(config, batchSize, sequenceLength),
        InferenceMemory.Of(config, sequenceLength, DType.F32.Size()),
        InferenceMemory.Of(config, sequenceLength, DType.BF16.Size()));

    static long LayerTotal(OpenElmConfig config, int layer) =>
        TensorShapes.Of(config).Where(tensor => tensor.Name.StartsWith($"layers.{layer}.", StringComparison.Ordinal)).Sum(tensor => tensor.Elements);
}
