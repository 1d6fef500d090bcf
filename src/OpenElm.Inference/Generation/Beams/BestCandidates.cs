using System.Numerics.Tensors;

namespace OpenElm.Inference.Generation.Beams;

/// <summary>One way to go on: a beam and a token.</summary>
/// <param name="Beam">Which beam.</param>
/// <param name="Token">Which token follows.</param>
/// <param name="LogProbability">Sum of log-probabilities with the token.</param>
internal readonly record struct Candidate(int Beam, int Token, double LogProbability);

/// <summary>The best candidates of all beams, found without sorting all.</summary>
/// <param name="capacity">How many.</param>
internal sealed class BestCandidates(int capacity)
{
    readonly PriorityQueue<Candidate, double> _worstFirst = new(capacity + 1);

    /// <summary>Begins a step.</summary>
    public void Clear() => _worstFirst.Clear();

    /// <summary>Offers every token that may follow a beam.</summary>
    /// <param name="beam">Which beam.</param>
    /// <param name="logProbability">The sum of its log-probabilities.</param>
    /// <param name="scores">[candidates]: log-probabilities of the next token; −∞ where it may not follow.</param>
    public void Offer(int beam, double logProbability, ReadOnlySpan<float> scores)
    {
        for (int token = 0; token < scores.Length; token++)
        {
            double sum = logProbability + scores[token];
            if (_worstFirst.Count < capacity ? sum > double.NegativeInfinity : sum > _worstFirst.Peek().LogProbability)
            {
                _worstFirst.Enqueue(new Candidate(beam, token, sum), sum);
                if (_worstFirst.Count > capacity)
                {
                    _worstFirst.Dequeue();
                }
            }
        }
    }

    /// <summary>The candidates of this step.</summary>
    /// <returns>The best first; of equal ones the one of the earlier beam, then the smaller id.</returns>
    public IReadOnlyList<Candidate> BestFirst() =>
        [.. _worstFirst.UnorderedItems.Select(item => item.Element).OrderByDescending(item => item.LogProbability).ThenBy(item => item.Beam).ThenBy(item => item.Token)];

    /// <summary>log softmax, in place.</summary>
    /// <param name="logits">[candidates].</param>
    public static void Normalize(Span<float> logits) => TensorPrimitives.Subtract(logits, (float)LogSoftmax.LogSumExp(logits), logits);
}
