using OpenElm.Inference.Tiles;

namespace OpenElm.Inference.Kernels.Reference;

internal static unsafe class FloatProduct
{
    /// <inheritdoc cref="FloatProductKernel"/>
    public static void Run(float* w, long wStride, long tileStride, int tiles, float* x, long xStride, int rows, int length, float* y, long yStride, bool add)
    {
        for (int t = 0; t < rows; t++)
        {
            for (int i = 0; i < tiles * TileFormats.Rows; i++)
            {
                float* column = w + (i / TileFormats.Rows * tileStride) + (i % TileFormats.Rows);
                float sum = add ? y[(t * yStride) + i] : 0;
                for (int k = 0; k < length; k++)
                {
                    sum = MathF.FusedMultiplyAdd(x[(t * xStride) + k], column[k * wStride], sum);
                }

                y[(t * yStride) + i] = sum;
            }
        }
    }
}
