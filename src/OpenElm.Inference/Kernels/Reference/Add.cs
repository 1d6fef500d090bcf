namespace OpenElm.Inference.Kernels.Reference;

internal static class Add
{
    /// <inheritdoc cref="AddKernel"/>
    public static void Run(Span<float> x, ReadOnlySpan<float> y)
    {
        for (int i = 0; i < x.Length; i++)
        {
            x[i] += y[i];
        }
    }
}
