namespace OpenElm.Inference.Kernels.Reference;

internal static class MatMul
{
    /// <inheritdoc cref="MatMulKernel"/>
    public static void Run(ReadOnlySpan<float> weight, int inDim, ReadOnlySpan<float> x, Span<float> y, int yStride)
    {
        int rows = weight.Length / inDim, seq = x.Length / inDim;
        for (int t = 0; t < seq; t++)
        {
            for (int r = 0; r < rows; r++)
            {
                float sum = 0;
                for (int c = 0; c < inDim; c++)
                {
                    sum += weight[(r * inDim) + c] * x[(t * inDim) + c];
                }

                y[(t * yStride) + r] = sum;
            }
        }
    }
}
