namespace OpenElm.Inference.Kernels.Reference;

internal static class Rope
{
    /// <inheritdoc cref="RopeKernel"/>
    public static void Run(Span<float> heads, ReadOnlySpan<float> cos, ReadOnlySpan<float> sin)
    {
        int half = cos.Length;
        for (int start = 0; start < heads.Length; start += 2 * half)
        {
            for (int k = 0; k < half; k++)
            {
                (float a, float b) = (heads[start + k], heads[start + k + half]);
                heads[start + k] = (a * cos[k]) - (b * sin[k]);
                heads[start + k + half] = (b * cos[k]) + (a * sin[k]);
            }
        }
    }
}
