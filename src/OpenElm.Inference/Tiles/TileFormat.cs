using System.Runtime.CompilerServices;
using OpenElm.Checkpoints;

namespace OpenElm.Inference.Tiles;

/// <summary>
/// How a matrix [out, in] lies in memory for the kernels: tiles of 16 rows, and within a tile the columns in their order, so
/// that one vector holds the same columns of 16 rows and each lane sums one output along the input. Quantised tiles are
/// the stored blocks with their 32-bit words transposed; nothing is rounded again. What is used together lies together: a kernel
/// that takes every line of a tile once, in their order, is the one that the processor's prefetchers follow.
/// </summary>
internal enum TileFormat
{
    /// <summary>[columns][16] floats.</summary>
    F32,

    /// <summary>[columns / 2][16][2] bfloat16; an odd last column is paired with 0.</summary>
    BF16,

    /// <summary>
    /// Q8_0. Per 64 columns: half d[2][16], then twice (32 columns each) [8][16][4] bytes q + 128: w = d · (q + 128 − 128). An odd last
    /// block has a place for two rows of d, too.
    /// </summary>
    Int8,

    /// <summary>
    /// Q4_0. Per 64 columns: half d[2][16], then twice [4][16][4] bytes: of the j-th group the low halves are columns
    /// 4j … 4j+3 of the 32, the high halves columns 16+4j … 16+4j+3; w = d · (q − 8). An odd last block as in <see cref="Int8"/>.
    /// </summary>
    Int4,

    /// <summary>
    /// Q4_K. Per 256 columns: half d[16], half dmin[16], then scale bytes [8 groups][16], min bytes [8 groups][16], then four
    /// times (64 columns each) [8][16][4] bytes: the low halves are columns 4j … 4j+3 of the first 32, the high halves of the
    /// second 32. w = (d · scale) · q − (dmin · min).
    /// </summary>
    Int4K,

    /// <summary>
    /// Q6_K. Per 256 columns: half d[16], 32 bytes unused, signed scale bytes [16 groups of 16 columns][16], then twice (128
    /// columns each) [8][3][16][4] bytes. For j in 0 … 7 the three vectors are ql[j], ql[j + 8] and qh[j]. They hold columns
    /// 4j … 4j+3 of the four 32-column blocks: block 0: ql[j] low half, qh[j] bits 0-1; block 1: ql[j + 8] low half, qh[j] bits 2-3;
    /// block 2: ql[j] high half, qh[j] bits 4-5; block 3: ql[j + 8] high half, qh[j] bits 6-7. w = (d · scale) · (q − 32).
    /// </summary>
    Int6K,

    /// <summary>
    /// Every other block format, exactly: per 32 columns float scale[16], float min[16], [8][16][4] bytes q;
    /// w = scale · q + min.
    /// </summary>
    Int8Affine,
}

/// <summary>Facts about <see cref="TileFormat"/>.</summary>
internal static class TileFormats
{
    /// <summary>Rows of a tile: the floats of a 512-bit vector.</summary>
    public const int Rows = 16;

    /// <summary>The format that holds a stored type without another rounding.</summary>
    /// <param name="dtype">The stored type.</param>
    /// <returns>The format.</returns>
    public static TileFormat Of(DType dtype) => dtype switch
    {
        DType.BF16 => TileFormat.BF16,
        DType.Q8_0 => TileFormat.Int8,
        DType.Q4_0 => TileFormat.Int4,
        DType.Q4_K => TileFormat.Int4K,
        DType.Q6_K => TileFormat.Int6K,
        _ => dtype.IsBlocked() ? TileFormat.Int8Affine : TileFormat.F32,
    };

    /// <summary>Whether the format is multiplied with activations quantised to <see cref="ActivationForm.Int8"/>.</summary>
    /// <param name="format">The format.</param>
    /// <returns>False for F32 and BF16.</returns>
    public static bool IsInteger(this TileFormat format) => format is not (TileFormat.F32 or TileFormat.BF16);

    /// <summary>What is subtracted from a stored q: the sum of activations times this is taken off the integer sum.</summary>
    /// <param name="format">An integer format.</param>
    /// <returns>128, 8, 32, or 0 where the block has a minimum instead.</returns>
    public static int ZeroPoint(this TileFormat format) => format switch
    {
        TileFormat.Int8 => 128,
        TileFormat.Int4 => 8,
        TileFormat.Int6K => 32,
        _ => 0,
    };

    /// <summary>Where the d of a block lie in a tile of <see cref="TileFormat.Int8"/> or <see cref="TileFormat.Int4"/>.</summary>
    /// <param name="format">The format.</param>
    /// <param name="block">The block of 32 columns.</param>
    /// <returns>Bytes from the tile's first.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int ScalesAt(this TileFormat format, int block) => (block / 2 * format.PairBytes()) + (block % 2 * 32);

    /// <summary>Where the quants of a block lie in a tile of <see cref="TileFormat.Int8"/> or <see cref="TileFormat.Int4"/>.</summary>
    /// <param name="format">The format.</param>
    /// <param name="block">The block of 32 columns.</param>
    /// <returns>Bytes from the tile's first.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int QuantsAt(this TileFormat format, int block) => (block / 2 * format.PairBytes()) + 64 + (block % 2 * (format.PairBytes() - 64) / 2);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static int PairBytes(this TileFormat format) => format == TileFormat.Int8 ? 1088 : 576;

    /// <summary>Bytes of a tile.</summary>
    /// <param name="format">The format.</param>
    /// <param name="columns">Columns, whole blocks.</param>
    /// <returns>A multiple of 64.</returns>
    public static long TileBytes(this TileFormat format, int columns) => format switch
    {
        TileFormat.F32 => columns * 64L,
        TileFormat.BF16 => (columns + 1) / 2 * 64L,
        TileFormat.Int8 => (columns / 32 * 512L) + ((columns + 32) / 64 * 64L),
        TileFormat.Int4 => (columns / 32 * 256L) + ((columns + 32) / 64 * 64L),
        TileFormat.Int4K => columns / 256 * 2368L,
        TileFormat.Int6K => columns / 256 * 3392L,
        TileFormat.Int8Affine => columns / 32 * 640L,
        _ => throw new ArgumentOutOfRangeException(nameof(format), format, null),
    };
}
