namespace OpenElm.Inference.Tiles;

/// <summary>A matrix in tiles; see <see cref="TileFormat"/>. The rows of the last tile behind the matrix are zeros.</summary>
/// <param name="Format">The layout.</param>
/// <param name="Rows">Rows: outputs.</param>
/// <param name="Columns">Columns: inputs.</param>
/// <param name="Address">The first tile, aligned to 64 bytes.</param>
internal readonly unsafe record struct TileMatrix(TileFormat Format, int Rows, int Columns, nint Address)
{
    /// <summary>Tiles in all.</summary>
    public int Tiles => (Rows + TileFormats.Rows - 1) / TileFormats.Rows;

    /// <summary>Bytes from one tile to the next.</summary>
    public long TileBytes => Format.TileBytes(Columns);

    /// <summary>Bytes in all.</summary>
    public long Bytes => Tiles * TileBytes;

    /// <summary>The first byte of a tile.</summary>
    /// <param name="tile">From 0.</param>
    /// <returns>Its address.</returns>
    public byte* Tile(int tile) => (byte*)Address + (tile * TileBytes);
}
