namespace OpenElm.Inference.Kernels.Reference;

internal static class RmsNorm
{
    /// <inheritdoc cref="RmsNormKernel"/>
    public static void Run(ReadOnlySpan<float> x, ReadOnlySpan<float> weight, float eps, Span<float> y)
    {
        int width = weight.Length;
        for (int start = 0; start < x.Length; start += width)
        {
            float sum = 0;
            for (int i = 0; i < width; i++)
            {
                sum += x[start + i] * x[start + i];
            }

            float scale = 1 / MathF.Sqrt((sum / width) + eps);
            for (int i = 0; i < width; i++)
            {
                y[start + i] = x[start + i] * scale * weight[i];
            }
        }
    }
}
