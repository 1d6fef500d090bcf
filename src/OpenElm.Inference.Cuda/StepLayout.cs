using OpenElm.Configuration;

namespace OpenElm.Inference.Cuda;

/// <summary>How the kernel of a step uses the shared memory of a multiprocessor: a ring of chunks of weights for each warp, and the activations.</summary>
/// <param name="ChunkBytes">Of one copy: a row of the residual's width, or an even part of it.</param>
/// <param name="Ring">Chunks of a warp.</param>
/// <param name="SharedBytes">All of it.</param>
internal sealed record StepLayout(int ChunkBytes, int Ring, int SharedBytes)
{
    /// <summary>Warps of a block, as the kernel has them.</summary>
    public const int Warps = 16;

    /// <summary>Splits of a sequence that attention is shared by, at most, as the kernel has them.</summary>
    public const int MostSplits = 8;

    const int MostShared = 227 * 1024, LargestChunk = 3072, Alignment = 512, MatrixBytes = 24, LayerBytes = 48, ArrivalBytes = 8, MostRing = 8;

    /// <summary>Lays out a model's step.</summary>
    /// <param name="config">The architecture.</param>
    /// <param name="precision">Of weights.</param>
    /// <param name="reason">Why the model has no such step, as the end of a sentence; null if it has.</param>
    /// <returns>The layout; null where the model has none.</returns>
    public static StepLayout? Of(OpenElmConfig config, CudaPrecision precision, out string? reason)
    {
        int elementBytes = precision == CudaPrecision.Bf16 ? 2 : 4, vector = 16 / elementBytes, lanes = config.HeadDim / 8, group = config.Layers[0].QueryHeadsPerKvHead;
        reason = config.HeadDim % 8 != 0 || lanes > 32 || (lanes & (lanes - 1)) != 0 ? $"a head of {config.HeadDim} is no power of two from 8 to 256"
            : config.ModelDim % vector != 0 || config.Layers.Any(layer => layer.FfnDim % vector != 0) ? $"the widths are no multiples of {vector}"
            : config.Layers.Any(layer => layer.QueryHeadsPerKvHead != group) ? "layers differ in query heads for a KV head"
            : group > 8 ? $"{group} query heads share a KV head; 8 may"
            : null;
        if (reason is not null)
        {
            return null;
        }

        int row = config.ModelDim * elementBytes, parts = (row + LargestChunk - 1) / LargestChunk;
        int chunk = Math.Max(Alignment, ((row + parts - 1) / parts + Alignment - 1) / Alignment * Alignment);
        int widest = Math.Max(config.ModelDim, config.Layers.Max(layer => Math.Max(layer.FfnDim, layer.QueryHeads * config.HeadDim)));
        int attention = ((group + 2) * config.HeadDim) + (Warps * group * (config.HeadDim + 4));
        int rest = (MatrixBytes * ((4 * config.Layers.Length) + 2)) + (LayerBytes * config.Layers.Length) + ((Warps + (MostSplits * config.Layers.Max(layer => layer.QueryHeads))) * sizeof(float)) + 256 + (Math.Max(widest, attention) * sizeof(float));
        int ring = Math.Min(MostRing, (MostShared - rest) / (Warps * (chunk + ArrivalBytes)));
        if (ring < 2)
        {
            reason = $"activations of {widest} leave no shared memory for weights";
            return null;
        }

        return new StepLayout(chunk, ring, (Warps * ring * (chunk + ArrivalBytes)) + rest);
    }
}
