namespace OpenElm.Inference.Generation.Speculation;

/// <summary>
/// Guesses that a text repeats itself: finds, from the left, where its last two tokens (else its last one) occurred before,
/// and proposes what followed there. Cut before the end of a sequence.
/// </summary>
/// <param name="eos">The id that ends a sequence.</param>
internal sealed class PromptLookup(int eos) : IProposer
{
    const int LongestMatch = 2;

    /// <inheritdoc/>
    public double Cost => 0;

    /// <inheritdoc/>
    public int Propose(Span<int> sequence, int length, int count)
    {
        ReadOnlySpan<int> tokens = sequence[..length];
        for (int match = Math.Min(LongestMatch, length - 1); match > 0; match--)
        {
            int at = tokens[..^1].IndexOf(tokens[^match..]); // an earlier occurrence leaves at least one token behind it
            if (at >= 0)
            {
                ReadOnlySpan<int> followed = tokens[(at + match)..];
                followed = followed[..Math.Min(count, followed.Length)];
                int end = followed.IndexOf(eos);
                followed = end >= 0 ? followed[..end] : followed;
                followed.CopyTo(sequence[length..]);
                return followed.Length;
            }
        }

        return 0;
    }

    /// <inheritdoc/>
    public ReadOnlySpan<float> Probabilities(int index) => [];
}
