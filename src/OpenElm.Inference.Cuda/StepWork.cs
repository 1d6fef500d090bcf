using System.Collections.Immutable;
using OpenElm.Configuration;

namespace OpenElm.Inference.Cuda;

/// <summary><c>Work</c> of step.cu: a product of a block. Rows go in pairs of a gate and its up, or one by one; a tile is a piece of some rows.</summary>
/// <param name="First">The first row's weights.</param>
/// <param name="From">Where the activations come from.</param>
/// <param name="Norm">Weights of the norm before it, or 0; with LayerNorm <see cref="StepNorms"/>.</param>
/// <param name="To">Where the block's results go.</param>
/// <param name="Second">Bytes to the row that belongs to a row, or 0.</param>
/// <param name="RowBytes">Of a row.</param>
/// <param name="PieceBytes">Of a piece.</param>
/// <param name="Pitch">Bytes from row to row in the ring.</param>
/// <param name="Pieces">Of a row.</param>
/// <param name="Rows">Of the block.</param>
/// <param name="TileRows">Of a tile, at most.</param>
/// <param name="Begin">The number of the block's first result.</param>
/// <param name="Format">Of packed rows: how.</param>
/// <param name="Width">Numbers of a row.</param>
/// <param name="Columns">Numbers of a piece.</param>
/// <param name="Maps">Numbers of the boxes of a tile and, in the upper half, of the block's last tile.</param>
internal readonly record struct StepWork(
    nint First, nint From, nint Norm, nint To, int Second, int RowBytes, int PieceBytes, int Pitch, int Pieces, int Rows, int TileRows, int Begin, PackedFormat Format, int Width, int Columns, int Maps)
{
    /// <summary>Its size.</summary>
    public const int Bytes = 80;

    /// <summary>Deals a model's matrices to blocks: even parts of each.</summary>
    /// <param name="config">The architecture.</param>
    /// <param name="layers">Their matrices.</param>
    /// <param name="finalNorm">The norm before the head.</param>
    /// <param name="head">[vocab, modelDim].</param>
    /// <param name="elementBytes">Of a number.</param>
    /// <param name="layout">Of the kernel.</param>
    /// <param name="embedded">Words of the token's embedding.</param>
    /// <param name="words">Each layer's.</param>
    /// <param name="logits">[vocab].</param>
    /// <returns>For each block: of each layer qkv, out, gate and up, down; then the head. And the boxes of their tiles.</returns>
    public static (StepWork[] Work, StepBox[] Boxes) Deal(
        OpenElmConfig config, IReadOnlyList<DeviceLayer> layers, nint finalNorm, DeviceMatrix head, int elementBytes, StepLayout layout, nint embedded, IReadOnlyList<StepWords> words, nint logits)
    {
        int ofBlock = (4 * layers.Count) + 1, at = 0, normed = 0; // matrices so far, and those with a norm before them
        var work = new StepWork[layout.Blocks * ofBlock];
        var boxes = new List<StepBox>();
        nint x = embedded; // words of the residual
        foreach ((DeviceLayer layer, StepWords own) in layers.Zip(words))
        {
            LayerShape shape = layer.Shape;
            Add(layer.QkvProj, (shape.QueryHeads + (2 * shape.KvHeads)) * config.HeadDim, config.ModelDim, x, layer.AttnNorm, own.Qkv);
            Add(layer.OutProj, config.ModelDim, shape.QueryHeads * config.HeadDim, own.Heads, 0, own.Attended);
            Add(layer.Proj1, (config.FfnWithGlu ? 2 : 1) * shape.FfnDim, config.ModelDim, own.Attended, layer.FfnNorm, own.Activated, config.FfnWithGlu);
            Add(layer.Proj2, config.ModelDim, shape.FfnDim, own.Activated, 0, x = own.Residual);
        }

        Add(head, config.VocabSize, config.ModelDim, x, finalNorm, logits);
        return (work, [.. boxes]);

        void Add(DeviceMatrix matrix, int rows, int width, nint from, nint norm, nint to, bool isGlued = false)
        {
            // A block has the same rows of the residual always, behind which no norm is; of the others the larger parts go around.
            int each = isGlued ? 2 : 1, results = rows / each, turn = norm == 0 ? 0 : 37 * normed++ % layout.Blocks;
            bool isPacked = matrix.Format != PackedFormat.Plain;
            int columns = isPacked ? matrix.Columns : layout.ColumnsOf(PackedFormat.Plain, width);
            int rowBytes = isPacked ? (int)PackedRows.Bytes(matrix.Format, width) : width * elementBytes;
            int pieceBytes = isPacked ? (int)PackedRows.Bytes(matrix.Format, columns) : columns * elementBytes;
            int second = isGlued ? results * rowBytes : 0, pitch = StepLayout.PitchOf(pieceBytes), map = boxes.Count;
            ImmutableArray<int> rowsOfBoxes = StepLayout.Boxes(results, isGlued, layout.Blocks);
            boxes.AddRange(rowsOfBoxes.Select(rowsOfBox => new StepBox(matrix.Address, rowBytes, results, second, pitch, rowsOfBox / each)));
            for (int block = 0; block < layout.Blocks; block++)
            {
                int begin = (int)((((long)results * block) + turn) / layout.Blocks), end = (int)((((long)results * (block + 1)) + turn) / layout.Blocks);
                int own = each * (end - begin), tileRows = rowsOfBoxes[0], last = own == 0 ? 0 : rowsOfBoxes.IndexOf(((own - 1) % tileRows) + 1);
                work[(block * ofBlock) + at] = new StepWork(
                    matrix.Address + (nint)((long)begin * rowBytes), from, norm, to + (begin * sizeof(float)), second, rowBytes, pieceBytes, pitch, StepLayout.Parts(width, columns), own, tileRows, begin,
                    matrix.Format, width, columns, map | ((map + last) << 16));
            }

            at++;
        }
    }
}

/// <summary>The box of a tile of a matrix.</summary>
/// <param name="Matrix">Its first row.</param>
/// <param name="RowBytes">Of a row.</param>
/// <param name="Results">Rows, or pairs.</param>
/// <param name="Second">Bytes to the row that belongs to a row, or 0.</param>
/// <param name="Bytes">Of a row of the box.</param>
/// <param name="BoxResults">Rows of the box, or pairs.</param>
internal readonly record struct StepBox(nint Matrix, int RowBytes, int Results, int Second, int Bytes, int BoxResults);

/// <summary>Where a layer's numbers go from block to block.</summary>
/// <param name="Qkv">Queries, keys and values.</param>
/// <param name="Letters">What the splits of a KV head's past say.</param>
/// <param name="Heads">What attention gives.</param>
/// <param name="Attended">The residual behind attention.</param>
/// <param name="Activated">What is inside the feed-forward network.</param>
/// <param name="Residual">The residual behind the layer.</param>
internal readonly record struct StepWords(nint Qkv, nint Letters, nint Heads, nint Attended, nint Activated, nint Residual);
