namespace OpenElm.Inference.Kernels.Reference;

internal static class Attention
{
    /// <inheritdoc cref="AttentionKernel"/>
    public static void Run(ReadOnlySpan<float> query, ReadOnlySpan<float> keys, ReadOnlySpan<float> values, Span<float> scores, Span<float> y)
    {
        int headDim = query.Length;
        float scale = 1 / MathF.Sqrt(headDim), largest = float.NegativeInfinity;
        for (int p = 0; p < scores.Length; p++)
        {
            float dot = 0;
            for (int k = 0; k < headDim; k++)
            {
                dot += query[k] * keys[(p * headDim) + k];
            }

            scores[p] = dot * scale;
            largest = MathF.Max(largest, scores[p]);
        }

        float sum = 0;
        for (int p = 0; p < scores.Length; p++)
        {
            scores[p] = MathF.Exp(scores[p] - largest); // shifted: e^89 is infinite
            sum += scores[p];
        }

        for (int k = 0; k < headDim; k++)
        {
            float mean = 0;
            for (int p = 0; p < scores.Length; p++)
            {
                mean += scores[p] / sum * values[(p * headDim) + k];
            }

            y[k] = mean;
        }
    }
}
