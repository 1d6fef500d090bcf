using OpenElm.Inference.Tiles;

namespace OpenElm.Inference.Kernels.Reference;

/// <summary>Products with every <see cref="TileFormat"/>, one output at a time.</summary>
internal static unsafe class TileMatMul
{
    /// <inheritdoc cref="TileMatMulKernel"/>
    public static void Run(in TileMatrix weight, int firstTile, int endTile, in ActivationRows x, int rows, float* y, long yStride, bool add)
    {
        for (int t = 0; t < rows; t++)
        {
            for (int r = firstTile * TileFormats.Rows; r < endTile * TileFormats.Rows; r++)
            {
                float* result = y + (t * yStride) + r;
                byte* tile = weight.Tile(r / TileFormats.Rows);
                *result = weight.Format.IsInteger()
                    ? Integers(weight.Format, tile, r % TileFormats.Rows, weight.Columns, (ActivationBlock*)x.Row(t), add ? *result : 0)
                    : Floats(weight.Format, tile, r % TileFormats.Rows, weight.Columns, (float*)x.Row(t), add ? *result : 0);
            }
        }
    }

    static float Floats(TileFormat format, byte* tile, int lane, int columns, float* x, float sum)
    {
        for (int c = 0; c < columns; c++)
        {
            float w = format == TileFormat.F32
                ? ((float*)tile)[(c * 16) + lane]
                : BitConverter.UInt32BitsToSingle((uint)((ushort*)tile)[(c / 2 * 32) + (lane * 2) + (c % 2)] << 16);
            sum = MathF.FusedMultiplyAdd(x[c], w, sum);
        }

        return sum;
    }

    static float Integers(TileFormat format, byte* tile, int lane, int columns, ActivationBlock* x, float sum)
    {
        for (int block = 0; block < columns / 32; block++, x++)
        {
            if (format == TileFormat.Int6K)
            {
                sum = MathF.FusedMultiplyAdd(x->Start + Dot(format, tile, lane, block, x, 0, 16), Scale6K(tile, lane, 2 * block) * x->Scale, sum);
                sum = MathF.FusedMultiplyAdd(x->SecondStart + Dot(format, tile, lane, block, x, 16, 32), Scale6K(tile, lane, (2 * block) + 1) * x->Scale, sum);
                continue;
            }

            (float scale, float? min) = Scale(format, tile, lane, block);
            sum = MathF.FusedMultiplyAdd(x->Start + Dot(format, tile, lane, block, x, 0, 32), scale * x->Scale, sum);
            sum = min is { } m ? MathF.FusedMultiplyAdd(m, x->ScaledSum, sum) : sum;
        }

        return sum;

        int Dot(TileFormat format, byte* tile, int lane, int block, ActivationBlock* x, int first, int end)
        {
            int dot = 0;
            for (int c = first; c < end; c++)
            {
                dot += Q(format, tile, lane, (block * 32) + c) * x->Q[c];
            }

            return dot;
        }
    }

    // The stored unsigned number of a column, see TileFormat.
    static int Q(TileFormat format, byte* tile, int lane, int column)
    {
        (int block, int inBlock) = (column / 32, column % 32);
        int word = (lane * 4) + (column % 4); // in a group of 16 words of 4 bytes
        switch (format)
        {
            case TileFormat.Int8:
                return tile[format.QuantsAt(block) + (inBlock / 4 * 64) + word];
            case TileFormat.Int8Affine:
                return tile[(block * 640) + 128 + (inBlock / 4 * 64) + word];
            case TileFormat.Int4:
                byte pair = tile[format.QuantsAt(block) + (inBlock % 16 / 4 * 64) + word];
                return inBlock < 16 ? pair & 15 : pair >> 4;
            case TileFormat.Int4K:
                byte two = tile[(column / 256 * 2368) + 320 + (column % 256 / 64 * 512) + (inBlock / 4 * 64) + word];
                return block % 2 == 0 ? two & 15 : two >> 4;
            default:
                byte* triple = tile + (column / 256 * 3392) + 320 + (column % 256 / 128 * 1536) + (inBlock / 4 * 192) + word;
                int low = triple[block % 2 * 64], high = triple[128] >> (block % 4 * 2);
                return (block % 4 < 2 ? low & 15 : low >> 4) | ((high & 3) << 4);
        }
    }

    static (float Scale, float? Min) Scale(TileFormat format, byte* tile, int lane, int block)
    {
        switch (format)
        {
            case TileFormat.Int8 or TileFormat.Int4:
                return ((float)((Half*)(tile + format.ScalesAt(block)))[lane], null);
            case TileFormat.Int8Affine:
                float* floats = (float*)(tile + (block * 640));
                return (floats[lane], floats[16 + lane]);
            default:
                byte* super = tile + (block / 8 * 2368);
                float d = (float)((Half*)super)[lane], dmin = (float)((Half*)super)[16 + lane];
                return (d * super[64 + (block % 8 * 16) + lane], -(dmin * super[192 + (block % 8 * 16) + lane]));
        }
    }

    static float Scale6K(byte* tile, int lane, int group)
    {
        byte* super = tile + (group / 16 * 3392);
        return (float)((Half*)super)[lane] * (sbyte)super[64 + (group % 16 * 16) + lane];
    }
}
