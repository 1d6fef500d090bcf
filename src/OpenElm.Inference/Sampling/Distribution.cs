using System.Numerics.Tensors;

namespace OpenElm.Inference.Sampling;

/// <summary>Softmax without the division, and draws from it.</summary>
internal static class Distribution
{
    /// <summary>e^(logit − largest), in place: proportional to the probabilities, without overflow.</summary>
    /// <param name="logits">[candidates].</param>
    /// <returns>Their sum.</returns>
    /// <exception cref="OpenElmException">The logits have left the range of numbers.</exception>
    public static double Weigh(Span<float> logits)
    {
        TensorPrimitives.Subtract(logits, TensorPrimitives.Max<float>(logits), logits);
        TensorPrimitives.Exp(logits, logits);
        double sum = 0; // in double precision: thousands of small weights must not vanish beside a large one
        foreach (float weight in logits)
        {
            sum += weight;
        }

        return double.IsFinite(sum) ? sum : throw OutOfRange();
    }

    /// <summary>The logits are no numbers any more.</summary>
    /// <returns>What to throw.</returns>
    public static OpenElmException OutOfRange() => new("The logits have left the range of numbers; raise the temperature or moderate the penalties.");

    /// <summary>Draws a token in proportion to the weights.</summary>
    /// <param name="weights">[candidates], at least one positive.</param>
    /// <param name="sum">Their sum.</param>
    /// <param name="random">The draws.</param>
    /// <returns>The id; its weight is positive.</returns>
    public static int Draw(ReadOnlySpan<float> weights, double sum, Random random)
    {
        double left = random.NextDouble() * sum;
        int last = 0;
        for (int i = 0; i < weights.Length; i++)
        {
            if (weights[i] > 0)
            {
                left -= weights[i];
                last = i;
                if (left < 0)
                {
                    return i;
                }
            }
        }

        return last; // rounding may leave a crumb behind the last token that can be drawn
    }
}
