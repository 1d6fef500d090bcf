using System.Collections.Immutable;
using System.Globalization;
using OpenElm.Configuration;

namespace OpenElm.Inference.Cuda;

/// <summary>What of a step's layout neither the model nor the device decides; results are the same, bit for bit. Which is fastest differs from card to card and from size to size (step.cu).</summary>
/// <param name="FlyingBytes">What a block has asked for and not got yet, at most, while others' numbers may be waited for.</param>
/// <param name="AheadBytes">What a block brings into the second-level cache, at most, while its ring is full.</param>
/// <param name="LargestPiece">Bytes of a plain row that are copied at once, at most.</param>
internal readonly record struct StepVariant(int FlyingBytes, int AheadBytes, int LargestPiece)
{
    const int Ahead = 192 << 10, Piece = 1536, SmallPiece = 1024;

    /// <summary>Those that were the fastest or near it somewhere. The first one, an H200's for 270M and 450M, where nobody searches; its for 1.1B and 3B is the fourth.</summary>
    public static ImmutableArray<StepVariant> All { get; } = [new(48 << 10, 0, Piece), new(32 << 10, 0, Piece), new(48 << 10, Ahead, Piece), new(48 << 10, Ahead, SmallPiece), new(64 << 10, Ahead, SmallPiece)];

    /// <inheritdoc/>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{FlyingBytes >> 10} KB on their way, {AheadBytes >> 10} KB ahead, pieces of {LargestPiece} bytes");
}

/// <summary>How the kernel of a step uses a device: blocks that stay, each with a ring of tiles of weights, and the activations, in shared memory.</summary>
/// <param name="Blocks">One for a multiprocessor, at most.</param>
/// <param name="Warps">Of a block, that compute.</param>
/// <param name="PieceColumns">Numbers of a plain row's piece, at most.</param>
/// <param name="BytesColumns">Numbers of a row of bytes' piece, at most.</param>
/// <param name="RingBytes">Of the ring.</param>
/// <param name="Maps">Boxes of tiles, of all matrices.</param>
/// <param name="OwnBytes">Of a warp, for what it multiplies.</param>
/// <param name="SharedBytes">All of a block's.</param>
/// <param name="Variant">What was free to be chosen.</param>
internal sealed record StepLayout(int Blocks, int Warps, int PieceColumns, int BytesColumns, int RingBytes, int Maps, int OwnBytes, int SharedBytes, StepVariant Variant)
{
    const int EvenBlocks = 128;     // divide all widths of OpenELM
    const int MostSplits = 32;      // a lane for each
    const int TileRows = 16, TilePositions = 16, Chunk = 32, OperandBytes = 128;
    const int WarpsOfBlock = 8, MostShared = 227 * 1024, Rest = 1792;
    const int MostByteChunks = 6, MostNibbleChunks = 8; // of a warp in a piece: as many as registers hold
    const int RingUnit = 128, MostPitch = 2048, MostMaps = 512; // constant memory has room for no more

    /// <summary>Lays out a model's step.</summary>
    /// <param name="config">The architecture.</param>
    /// <param name="precision">Of weights.</param>
    /// <param name="multiprocessors">Of the device.</param>
    /// <param name="variant">What is free to be chosen.</param>
    /// <param name="reason">Why the model has no such step, as the end of a sentence; null if it has.</param>
    /// <returns>The layout; null where the model has none.</returns>
    public static StepLayout? Of(OpenElmConfig config, CudaPrecision precision, int multiprocessors, StepVariant variant, out string? reason)
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

        int width = Math.Max(config.ModelDim, PackedRows.Multiple), columns = EvenParts(width, variant.LargestPiece / elementBytes), piece = columns * elementBytes;
        int blocks = multiprocessors is >= EvenBlocks and < 2 * EvenBlocks ? EvenBlocks : multiprocessors;
        int widest = Math.Max(config.ModelDim, config.Layers.Max(layer => Math.Max(layer.FfnDim, layer.QueryHeads * config.HeadDim)));
        int bytesColumns = EvenParts(width, MostByteChunks * WarpsOfBlock * Chunk);
        int own = RoundUp(Math.Max(OperandBytes * MostOwnChunks(config, columns, bytesColumns), sizeof(float) * group * (config.HeadDim + 8)), 128);
        (int ownRows, int sumRows, int totalRows) = Shares(config, blocks);
        int tables = (StepWork.Bytes * ((4 * config.Layers.Length) + 1)) + ((StepLayer.Bytes + (4 * sizeof(int))) * config.Layers.Length);
        int attention = (8 * ((4 * Math.Max(Chunk, config.HeadDim)) + 64)) + (config.HeadDim * ((2 * elementBytes) + sizeof(float))) + (2 * ((group * WarpsOfBlock) + TilePositions) * sizeof(float));
        int rest = tables + (sizeof(float) * (ownRows + (WarpsOfBlock * (totalRows + 2)))) + attention + (WarpsOfBlock * own) + Rest;
        int ring = (MostShared - rest) / RingUnit * RingUnit;
        if (ring < 2 * TileRows * PitchOf(Math.Max(piece, (int)PackedRows.Bytes(PackedFormat.Bytes, bytesColumns))))
        {
            reason = $"activations of {widest} leave no shared memory for weights";
            return null;
        }

        int maps = config.Layers.Sum(layer =>
            Boxes((layer.QueryHeads + (2 * layer.KvHeads)) * config.HeadDim, false, blocks).Length + (2 * Boxes(config.ModelDim, false, blocks).Length) + Boxes(layer.FfnDim, config.FfnWithGlu, blocks).Length)
            + Boxes(config.VocabSize, false, blocks).Length;
        if (maps > MostMaps)
        {
            reason = $"its matrices have tiles of {maps} kinds; {MostMaps} may be";
            return null;
        }

        return new StepLayout(blocks, WarpsOfBlock, columns, bytesColumns, ring, maps, own, ring + rest, variant);
    }

    /// <summary>Of a block.</summary>
    public int Threads => 32 * (Warps + 1); // one asks for what they read

    /// <summary>Numbers of a piece of a row: as even as whole turns of the warps allow.</summary>
    /// <param name="format">How the row is kept.</param>
    /// <param name="width">Of the row.</param>
    /// <returns>A multiple of <see cref="PackedRows.Multiple"/> where the row is packed.</returns>
    public int ColumnsOf(PackedFormat format, int width) => ColumnsOf(format, width, PieceColumns, BytesColumns);

    /// <summary>The numbers of chunks that a warp has of a piece, in any plain matrix.</summary>
    /// <param name="config">The architecture.</param>
    /// <returns>A bit for each number.</returns>
    public int EachesOf(OpenElmConfig config) => Widths(config).Aggregate(0, (all, width) => all | (1 << OwnChunks(ColumnsOf(PackedFormat.Plain, width))));

    /// <summary>The loads of a lane that a warp's chunks of a piece take, in any packed matrix, at most.</summary>
    /// <param name="config">The architecture.</param>
    /// <param name="format">Of bytes a load has two chunks, of nibbles four.</param>
    /// <returns>How many.</returns>
    public int MostPacked(OpenElmConfig config, PackedFormat format) =>
        Widths(config).Where(width => width % PackedRows.Multiple == 0).Select(width => Parts(OwnChunks(ColumnsOf(format, width)), format == PackedFormat.Bytes ? 2 : 4)).DefaultIfEmpty().Max();

    /// <summary>Bytes from a row's piece to the next row's in the ring: half of the memory's banks beyond whole turns of them, where that is not too long for the copy engine.</summary>
    /// <param name="pieceBytes">Of a piece.</param>
    /// <returns>A multiple of 16.</returns>
    public static int PitchOf(int pieceBytes) => Math.Min(((pieceBytes + 63) / 128 * 128) + 64, MostPitch);

    /// <summary>Rows of the tiles of a matrix that blocks share evenly.</summary>
    /// <param name="results">Rows, or pairs of a gate and its up.</param>
    /// <param name="isGlued">Whether it has such pairs.</param>
    /// <param name="blocks">That share it.</param>
    /// <returns>Those of a tile that is not a block's last one, 16 at most; then those of last tiles that differ from it.</returns>
    public static ImmutableArray<int> Boxes(int results, bool isGlued, int blocks)
    {
        int each = isGlued ? 2 : 1, most = each * Parts(results, blocks), least = each * (results / blocks), tile = each * Parts(most / each, Parts(most, TileRows));
        return [.. ((int[])[tile, LastOf(most), LastOf(least)]).Where(rows => rows > 0).Distinct()];

        int LastOf(int rows) => rows == 0 ? 0 : ((rows - 1) % tile) + 1;
    }

    /// <summary>What the blocks share: most rows of a block in the residual, in a layer's matrix, and room for sums of two of those or of the head's.</summary>
    /// <param name="config">The architecture.</param>
    /// <param name="blocks">Of the kernel.</param>
    /// <returns>All three.</returns>
    public static (int OwnRows, int SumRows, int TotalRows) Shares(OpenElmConfig config, int blocks)
    {
        int glued = config.FfnWithGlu ? 2 : 1, own = Parts(config.ModelDim, blocks);
        int sums = Math.Max(own, config.Layers.Max(layer => Math.Max(Parts((layer.QueryHeads + (2 * layer.KvHeads)) * config.HeadDim, blocks), glued * Parts(layer.FfnDim, blocks))));
        return (own, sums, Math.Max(2 * sums, Parts(config.VocabSize, blocks)));
    }

    /// <summary>Blocks that share the past of a KV head.</summary>
    /// <param name="shape">The layer.</param>
    /// <param name="blocks">Of the kernel.</param>
    /// <returns>How many; 1 or more.</returns>
    public static int Splits(LayerShape shape, int blocks) => Math.Clamp(blocks / shape.KvHeads, 1, MostSplits);

    /// <summary>A ÷ b, rounded up.</summary>
    public static int Parts(int a, int b) => (a + b - 1) / b;

    static int ColumnsOf(PackedFormat format, int width, int pieceColumns, int bytesColumns) =>
        EvenParts(width, format switch { PackedFormat.Plain => pieceColumns, PackedFormat.Bytes => bytesColumns, _ => MostNibbleChunks * WarpsOfBlock * Chunk });

    // The largest of the parts of a width that are as even as whole turns of the warps allow.
    static int EvenParts(int width, int most) => RoundUp(Parts(width, Parts(width, most)), WarpsOfBlock * Chunk);

    // Of all pieces of a row.
    static int MostOwnChunks(OpenElmConfig config, int pieceColumns, int bytesColumns)
    {
        int most = 0;
        foreach (int width in Widths(config))
        {
            foreach (PackedFormat format in (PackedFormat[])[PackedFormat.Plain, PackedFormat.Bytes, PackedFormat.Nibbles])
            {
                int columns = ColumnsOf(format, width, pieceColumns, bytesColumns);
                most = Math.Max(most, Parts(width, columns) * OwnChunks(columns));
            }
        }

        return most;
    }

    // Chunks of a piece that a warp has, at most.
    static int OwnChunks(int columns) => Parts(columns, WarpsOfBlock * Chunk);

    // Of all rows.
    static IEnumerable<int> Widths(OpenElmConfig config) => config.Layers.SelectMany(layer => (int[])[config.ModelDim, layer.FfnDim, layer.QueryHeads * config.HeadDim]).Distinct();

    static int RoundUp(int a, int b) => Parts(a, b) * b;
}
