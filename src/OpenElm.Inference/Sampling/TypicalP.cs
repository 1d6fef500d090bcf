namespace OpenElm.Inference.Sampling;

/// <summary>
/// Locally typical sampling (arXiv 2202.00666): orders the tokens by how far their surprise, −ln p, lies from the
/// distribution's entropy, and keeps the nearest that together reach a mass, and those equally near as the last of them.
/// </summary>
/// <param name="mass">In (0, 1].</param>
public sealed class TypicalP(double mass) : ILogitsProcessor
{
    float[] _weights = [];
    float[] _distances = [];
    int[] _ids = [];

    /// <inheritdoc/>
    public void Apply(ReadOnlySpan<int> tokens, Span<float> logits)
    {
        if (_ids.Length < logits.Length)
        {
            (_weights, _distances, _ids) = (new float[logits.Length], new float[logits.Length], new int[logits.Length]);
        }

        Span<float> weights = _weights.AsSpan(0, logits.Length);
        logits.CopyTo(weights);
        double sum = Distribution.Weigh(weights);
        int count = Distances(logits, weights, sum);
        Span<float> distances = _distances.AsSpan(0, count);
        distances.Sort(_ids.AsSpan(0, count));

        // The token that reaches the mass is the last that stays.
        int last = 0;
        for (double cumulative = 0; last < count - 1; last++)
        {
            cumulative += weights[_ids[last]] / sum;
            if ((float)cumulative >= (float)mass)
            {
                break;
            }
        }

        for (int i = last + 1; i < count; i++)
        {
            if (distances[i] > distances[last])
            {
                logits[_ids[i]] = float.NegativeInfinity;
            }
        }
    }

    // Fills |−ln p − entropy| and the ids of the tokens that an earlier processor left.
    int Distances(ReadOnlySpan<float> logits, ReadOnlySpan<float> weights, double sum)
    {
        double logSum = Math.Log(sum), entropy = 0;
        int count = 0;
        for (int i = 0; i < logits.Length; i++)
        {
            if (weights[i] > 0)
            {
                double surprise = logSum - Math.Log(weights[i]);
                entropy += weights[i] / sum * surprise;
                (_distances[count], _ids[count]) = ((float)surprise, i);
                count++;
            }
        }

        for (int i = 0; i < count; i++)
        {
            _distances[i] = MathF.Abs(_distances[i] - (float)entropy);
        }

        return count;
    }
}
