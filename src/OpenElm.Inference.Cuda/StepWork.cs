using OpenElm.Configuration;

namespace OpenElm.Inference.Cuda;

/// <summary><c>Work</c> of step.cu: a block's rows of a matrix. Rows go in pairs, a tile is a piece of some rows.</summary>
/// <param name="First">The first row's weights.</param>
/// <param name="Stride">Bytes to the next pair.</param>
/// <param name="Second">Bytes to the pair's second row.</param>
/// <param name="RowBytes">Of a row.</param>
/// <param name="PieceBytes">Of a piece.</param>
/// <param name="Pieces">Of a row.</param>
/// <param name="Rows">Of the block.</param>
/// <param name="TileRows">Of a tile, at most.</param>
/// <param name="Begin">The number of the block's first result.</param>
/// <param name="Format">Of packed rows: how.</param>
/// <param name="Width">Numbers of a row.</param>
/// <param name="Columns">Numbers of a piece.</param>
/// <param name="Each">Chunks of a piece that a warp has, at most.</param>
/// <param name="Reserved">Nothing.</param>
/// <param name="Unused">Nothing.</param>
internal readonly record struct StepWork(
    nint First, int Stride, int Second, int RowBytes, int PieceBytes, int Pieces, int Rows, int TileRows, int Begin, PackedFormat Format, int Width, int Columns, int Each, int Reserved, int Unused)
{
    /// <summary>Its size.</summary>
    public const int Bytes = 64;

    /// <summary>Deals a model's matrices to blocks: even parts of each.</summary>
    /// <param name="config">The architecture.</param>
    /// <param name="layers">Their matrices.</param>
    /// <param name="head">[vocab, modelDim].</param>
    /// <param name="elementBytes">Of a number.</param>
    /// <param name="layout">Of the kernel.</param>
    /// <returns>For each block: of each layer qkv, out, gate and up, down; then the head.</returns>
    public static StepWork[] Deal(OpenElmConfig config, IReadOnlyList<DeviceLayer> layers, DeviceMatrix head, int elementBytes, StepLayout layout)
    {
        var work = new List<StepWork>();
        for (int block = 0; block < layout.Blocks; block++)
        {
            int at = 0; // matrices
            foreach (DeviceLayer layer in layers)
            {
                LayerShape shape = layer.Shape;
                Add(layer.QkvProj, (shape.QueryHeads + (2 * shape.KvHeads)) * config.HeadDim, config.ModelDim, isGlued: false, isResidual: false);
                Add(layer.OutProj, config.ModelDim, shape.QueryHeads * config.HeadDim, isGlued: false, isResidual: true);
                Add(layer.Proj1, (config.FfnWithGlu ? 2 : 1) * shape.FfnDim, config.ModelDim, isGlued: config.FfnWithGlu, isResidual: false);
                Add(layer.Proj2, config.ModelDim, shape.FfnDim, isGlued: false, isResidual: true);
            }

            Add(head, config.VocabSize, config.ModelDim, isGlued: false, isResidual: false);

            void Add(DeviceMatrix matrix, int rows, int width, bool isGlued, bool isResidual)
            {
                // A block has the same rows of the residual always; of the others the larger parts go around.
                int results = isGlued ? rows / 2 : rows, turn = isResidual ? 0 : 37 * at++ % layout.Blocks;
                int begin = (int)((((long)results * block) + turn) / layout.Blocks), end = (int)((((long)results * (block + 1)) + turn) / layout.Blocks);
                int own = (isGlued ? 2 : 1) * (end - begin);
                bool isPacked = matrix.Format != PackedFormat.Plain;
                int columns = isPacked ? matrix.Columns : layout.ColumnsOf(PackedFormat.Plain, width);
                int rowBytes = isPacked ? (int)PackedRows.Bytes(matrix.Format, width) : width * elementBytes;
                int pieceBytes = isPacked ? (int)PackedRows.Bytes(matrix.Format, columns) : columns * elementBytes;
                work.Add(new StepWork(
                    matrix.Address + (nint)((long)begin * rowBytes), isGlued ? rowBytes : 2 * rowBytes, isGlued ? results * rowBytes : rowBytes, rowBytes, pieceBytes,
                    StepLayout.Parts(width, columns), own, StepLayout.RowsOfTile(own), begin, matrix.Format, width, columns, StepLayout.OwnChunks(columns), 0, 0));
            }
        }

        return [.. work];
    }
}
