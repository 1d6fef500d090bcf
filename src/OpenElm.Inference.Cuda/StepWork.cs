using OpenElm.Configuration;

namespace OpenElm.Inference.Cuda;

/// <summary><c>Work</c> of step.cu: a block's rows of a matrix. A unit is two rows, a tile is a piece of both.</summary>
/// <param name="First">The first unit's weights.</param>
/// <param name="Stride">Bytes to the next unit.</param>
/// <param name="Second">Bytes to the unit's second row.</param>
/// <param name="RowBytes">Of a row.</param>
/// <param name="PieceBytes">Of a piece.</param>
/// <param name="Units">Of the block.</param>
/// <param name="Pieces">Of a row.</param>
/// <param name="Warp">That has the first tile.</param>
/// <param name="Rows">Of the block.</param>
/// <param name="Begin">The number of the block's first result.</param>
/// <param name="Limit">Bytes that there are.</param>
/// <param name="Format">Of packed rows: how.</param>
/// <param name="Width">Numbers of a row.</param>
/// <param name="Columns">Numbers of a piece of a packed row.</param>
/// <param name="Reserved">Nothing.</param>
internal readonly record struct StepWork(
    nint First, int Stride, int Second, int RowBytes, int PieceBytes, int Units, int Pieces, int Warp, int Rows, int Begin, int Limit, PackedFormat Format, int Width, int Columns, int Reserved)
{
    /// <summary>Its size.</summary>
    public const int Bytes = 64;

    /// <summary>Deals a model's matrices to blocks: even parts of each, whose tiles go to a block's warps in turn, on from where the matrix before ended.</summary>
    /// <param name="config">The architecture.</param>
    /// <param name="layers">Their matrices.</param>
    /// <param name="head">[vocab, modelDim].</param>
    /// <param name="elementBytes">Of a number.</param>
    /// <param name="layout">Of the kernel.</param>
    /// <returns>For each block: of each layer qkv, room for attention's past, out, gate and up, down; then the head.</returns>
    public static StepWork[] Deal(OpenElmConfig config, IReadOnlyList<DeviceLayer> layers, DeviceMatrix head, int elementBytes, StepLayout layout)
    {
        var work = new List<StepWork>();
        int slots = StepLayout.Slots(config, layout.Blocks);
        for (int block = 0; block < layout.Blocks; block++)
        {
            int before = 0; // tiles
            int at = 0;     // matrices
            foreach (DeviceLayer layer in layers)
            {
                LayerShape shape = layer.Shape;
                Add(layer.QkvProj, (shape.QueryHeads + (2 * shape.KvHeads)) * config.HeadDim, config.ModelDim, isGlued: false, isResidual: false);
                work.AddRange(new StepWork[slots]);
                Add(layer.OutProj, config.ModelDim, shape.QueryHeads * config.HeadDim, isGlued: false, isResidual: true);
                Add(layer.Proj1, (config.FfnWithGlu ? 2 : 1) * shape.FfnDim, config.ModelDim, isGlued: config.FfnWithGlu, isResidual: false);
                Add(layer.Proj2, config.ModelDim, shape.FfnDim, isGlued: false, isResidual: true);
            }

            Add(head, config.VocabSize, config.ModelDim, isGlued: false, isResidual: false);

            void Add(DeviceMatrix matrix, int rows, int width, bool isGlued, bool isResidual)
            {
                // A block has the same rows of the residual always; of the others the larger parts go around.
                int units = StepLayout.Parts(rows, 2), turn = isResidual ? 0 : 37 * at++ % layout.Blocks;
                int begin = (int)((((long)units * block) + turn) / layout.Blocks), end = (int)((((long)units * (block + 1)) + turn) / layout.Blocks);
                bool isPacked = matrix.Format != PackedFormat.Plain;
                int rowBytes = isPacked ? (int)PackedRows.Bytes(matrix.Format, width) : width * elementBytes;
                int pieceBytes = isPacked ? (int)PackedRows.Bytes(matrix.Format, matrix.Columns) : layout.PieceBytes;
                int pieces = end > begin ? StepLayout.Parts(rowBytes, pieceBytes) : 0;
                work.Add(new StepWork(
                    matrix.Address + (nint)((long)begin * (isGlued ? 1 : 2) * rowBytes), (isGlued ? 1 : 2) * rowBytes, isGlued ? rows / 2 * rowBytes : rowBytes, rowBytes, pieceBytes,
                    end - begin, pieces, before % layout.Warps, Math.Min(2 * end, rows) - (2 * begin), (isGlued ? 1 : 2) * begin, int.MaxValue, matrix.Format, width, matrix.Columns, 0));
                before += (end - begin) * pieces;
            }
        }

        return [.. work];
    }
}
