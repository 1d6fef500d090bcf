using System.Collections.Immutable;
using OpenElm.Checkpoints;
using OpenElm.Configuration;

namespace OpenElm.Commands;

/// <summary>The output of <c>info MODEL --json</c>.</summary>
internal sealed record ModelDocument
{
    public required string Model { get; init; }

    public required int VocabSize { get; init; }

    public required int ModelDim { get; init; }

    public required int HeadDim { get; init; }

    public required int MaxContextLength { get; init; }

    public required int RopeMaxLength { get; init; }

    public required bool FfnWithGlu { get; init; }

    public required bool NormalizeQkProjections { get; init; }

    public required bool ShareInputOutputLayers { get; init; }

    public required double RopeFreqConstant { get; init; }

    public required double RmsNormEps { get; init; }

    public required ImmutableArray<Layer> Layers { get; init; }

    public required ParameterCount Parameters { get; init; }

    public required CacheBytes KvCacheBytesPerToken { get; init; }

    public required Training TrainingMemory { get; init; }

    public required Inference InferenceMemory { get; init; }

    /// <summary>Null for a bare architecture.</summary>
    public required CheckpointFacts? Checkpoint { get; init; }

    public sealed record Layer(int QueryHeads, int KvHeads, int FfnDim, long Parameters);

    public sealed record CacheBytes(long Fp32, long Bf16);

    public sealed record Training(int BatchSize, int SequenceLength, long Weights, long Gradients, long OptimizerState, long Activations, long Total);

    public sealed record Inference(int SequenceLength, InferenceMemory Fp32, InferenceMemory Bf16);
}
