using System.Numerics.Tensors;

namespace OpenElm.Inference;

/// <summary>Logarithms of probabilities, summed in double precision.</summary>
public static class LogSoftmax
{
    /// <summary>ln Σ e^logit, shifted by the largest so that nothing overflows.</summary>
    /// <param name="logits">[candidates].</param>
    /// <returns>The logarithm of the sum.</returns>
    public static double LogSumExp(ReadOnlySpan<float> logits)
    {
        double largest = TensorPrimitives.Max(logits);
        double sum = 0;
        foreach (float logit in logits)
        {
            sum += Math.Exp(logit - largest);
        }

        return largest + Math.Log(sum);
    }

    /// <summary>The natural logarithm of a token's probability.</summary>
    /// <param name="logits">[candidates].</param>
    /// <param name="token">The token.</param>
    /// <returns>ln softmax(logits)[token].</returns>
    public static double Of(ReadOnlySpan<float> logits, int token) => logits[token] - LogSumExp(logits);
}
