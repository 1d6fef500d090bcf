using System.Numerics.Tensors;

namespace OpenElm.Inference.Sampling;

/// <summary>Draws from softmax(logits); the same seed gives the same draws.</summary>
/// <param name="processors">Applied before.</param>
/// <param name="seed">Of the draws.</param>
public sealed class RandomDraw(ILogitsProcessor processors, int seed) : ISampler
{
    readonly Random _random = new(seed);

    /// <inheritdoc/>
    public int Sample(ReadOnlySpan<int> tokens, Span<float> logits)
    {
        processors.Apply(tokens, logits);
        float largest = TensorPrimitives.Max<float>(logits);
        double sum = 0;
        int last = 0;
        for (int i = 0; i < logits.Length; i++)
        {
            logits[i] = MathF.Exp(logits[i] - largest);
            sum += logits[i];
            last = logits[i] > 0 ? i : last;
        }

        double left = _random.NextDouble() * sum;
        for (int i = 0; i < last; i++)
        {
            left -= logits[i];
            if (left < 0)
            {
                return i;
            }
        }

        return last; // rounding may leave a crumb behind the last token that can be drawn
    }
}
