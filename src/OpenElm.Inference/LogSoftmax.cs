using System.Numerics;
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
        Vector<double> shift = new(largest), sums = Vector<double>.Zero;
        int i = 0;
        for (; i + Vector<float>.Count <= logits.Length; i += Vector<float>.Count)
        {
            Vector.Widen(new Vector<float>(logits[i..]), out Vector<double> low, out Vector<double> high);
            sums += Vector.Exp(low - shift) + Vector.Exp(high - shift);
        }

        double sum = Vector.Sum(sums);
        for (; i < logits.Length; i++)
        {
            sum += Math.Exp(logits[i] - largest);
        }

        return largest + Math.Log(sum);
    }

    /// <summary>The natural logarithm of a token's probability.</summary>
    /// <param name="logits">[candidates].</param>
    /// <param name="token">The token.</param>
    /// <returns>ln softmax(logits)[token].</returns>
    public static double Of(ReadOnlySpan<float> logits, int token) => logits[token] - LogSumExp(logits);
}
