using OpenElm.Configuration;

namespace OpenElm.Inference.Cuda;

/// <summary>How the kernel of a step uses a device: blocks that stay, each with a ring of tiles of weights for every warp, and the activations, in shared memory.</summary>
/// <param name="Blocks">One for a multiprocessor, at most.</param>
/// <param name="Warps">Of a block, that compute; one more asks for what they read.</param>
/// <param name="PieceBytes">Of a row, that are copied at once: half of a tile.</param>
/// <param name="Ring">Tiles of a warp.</param>
/// <param name="SharedBytes">All of a block's.</param>
internal sealed record StepLayout(int Blocks, int Warps, int PieceBytes, int Ring, int SharedBytes)
{
    const int EvenBlocks = 128; // divide all widths of OpenELM
    const int MostSplits = 32;  // a lane for each
    const int WarpsOfBlock = 16, MostShared = 227 * 1024, LargestPiece = 1536, MostRing = 8;

    /// <summary>Lays out a model's step.</summary>
    /// <param name="config">The architecture.</param>
    /// <param name="precision">Of weights.</param>
    /// <param name="multiprocessors">Of the device.</param>
    /// <param name="reason">Why the model has no such step, as the end of a sentence; null if it has.</param>
    /// <returns>The layout; null where the model has none.</returns>
    public static StepLayout? Of(OpenElmConfig config, CudaPrecision precision, int multiprocessors, out string? reason)
    {
        int elementBytes = precision == CudaPrecision.Bf16 ? 2 : 4, lanes = config.HeadDim / 8, group = config.Layers[0].QueryHeadsPerKvHead;
        reason = config.HeadDim % 8 != 0 || lanes > 32 || (lanes & (lanes - 1)) != 0 ? $"a head of {config.HeadDim} is no power of two from 8 to 256"
            : config.ModelDim % 8 != 0 || config.Layers.Any(layer => layer.FfnDim % 8 != 0) ? "the widths are no multiples of 8"
            : config.Layers.Any(layer => layer.QueryHeadsPerKvHead != group) ? "layers differ in query heads for a KV head"
            : group > 8 ? $"{group} query heads share a KV head; 8 may"
            : null;
        if (reason is not null)
        {
            return null;
        }

        int row = config.ModelDim * elementBytes, parts = Parts(row, LargestPiece);
        int piece = Math.Max(256 * elementBytes, RoundUp(Parts(row, parts), 32)); // a warp takes at least 256 numbers at once
        int widest = Math.Max(config.ModelDim, config.Layers.Max(layer => Math.Max(layer.FfnDim, layer.QueryHeads * config.HeadDim)));
        int attention = ((group + 2) * config.HeadDim) + (WarpsOfBlock * group * (config.HeadDim + 4));
        int blocks = multiprocessors is >= EvenBlocks and < 2 * EvenBlocks ? EvenBlocks : multiprocessors;
        (int ownRows, int partials) = Shares(config, elementBytes, blocks, piece);
        int tables = (StepWork.Bytes * (((4 + Slots(config, blocks)) * config.Layers.Length) + 1)) + (StepLayer.Bytes * config.Layers.Length);
        int rest = tables + (sizeof(float) * (ownRows + partials + Math.Max(widest, attention))) + 1024;
        int ring = Math.Min(MostRing, (MostShared - rest) / (WarpsOfBlock * (2 * (piece + sizeof(long)))));
        if (ring < 2)
        {
            reason = $"activations of {widest} leave no shared memory for weights";
            return null;
        }

        return new StepLayout(blocks, WarpsOfBlock, piece, ring, (WarpsOfBlock * ring * 2 * (piece + sizeof(long))) + rest);
    }

    /// <summary>Numbers of a piece of a packed row.</summary>
    /// <param name="format">Packed.</param>
    /// <param name="width">Of the row.</param>
    /// <returns>A multiple of <see cref="PackedRows.Multiple"/>.</returns>
    public int PieceColumns(PackedFormat format, int width)
    {
        int most = (int)(PieceBytes / PackedRows.Bytes(format, PackedRows.Multiple)) * PackedRows.Multiple;
        return RoundUp(Parts(width, Parts(width, most)), PackedRows.Multiple);
    }

    /// <summary>What the blocks share: most rows of a block in the residual, and most sums of pieces in a matrix.</summary>
    /// <param name="config">The architecture.</param>
    /// <param name="elementBytes">Of a number.</param>
    /// <param name="blocks">Of the kernel.</param>
    /// <param name="piece">Bytes of a piece.</param>
    /// <returns>Both.</returns>
    public static (int OwnRows, int Partials) Shares(OpenElmConfig config, int elementBytes, int blocks, int piece)
    {
        int Tiles(int rows, int width) => 2 * Parts(Parts(rows, 2), blocks) * Parts(width * elementBytes, piece);
        int partials = config.Layers.Max(layer => Math.Max(
            Math.Max(Tiles((layer.QueryHeads + (2 * layer.KvHeads)) * config.HeadDim, config.ModelDim), Tiles(config.ModelDim, layer.QueryHeads * config.HeadDim)),
            Math.Max(Tiles((config.FfnWithGlu ? 2 : 1) * layer.FfnDim, config.ModelDim), Tiles(config.ModelDim, layer.FfnDim))));
        return (2 * Parts(Parts(config.ModelDim, 2), blocks), Math.Max(partials, Tiles(config.VocabSize, config.ModelDim)));
    }

    /// <summary>Blocks that share the past of a KV head.</summary>
    /// <param name="shape">The layer.</param>
    /// <param name="blocks">Of the kernel.</param>
    /// <returns>How many; 1 or more.</returns>
    public static int Splits(LayerShape shape, int blocks) => Math.Clamp(blocks / shape.KvHeads, 1, MostSplits);

    /// <summary>Splits that a block may have in a layer: more than one only where there are more KV heads than blocks.</summary>
    /// <param name="config">The architecture.</param>
    /// <param name="blocks">Of the kernel.</param>
    /// <returns>How many.</returns>
    public static int Slots(OpenElmConfig config, int blocks) => config.Layers.Max(layer => Parts(layer.KvHeads * Splits(layer, blocks), blocks));

    /// <summary>A ÷ b, rounded up.</summary>
    public static int Parts(int a, int b) => (a + b - 1) / b;

    static int RoundUp(int a, int b) => Parts(a, b) * b;
}
