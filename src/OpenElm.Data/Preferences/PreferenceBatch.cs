using System.Collections.Immutable;
using OpenElm.Data.Examples;

namespace OpenElm.Data;

/// <summary>Pairs of one forward pass.</summary>
/// <param name="Sequences">[2 * pairs] rows, as wide as the longest: first prompt and chosen response of each pair, then prompt and rejected response of each. Only tokens of responses are targets.</param>
/// <param name="Pairs">[pairs] numbers of the pairs in the <see cref="PreferenceSet"/>.</param>
public sealed record PreferenceBatch(TokenBatch Sequences, ImmutableArray<int> Pairs)
{
    /// <summary>Makes the batch of some pairs.</summary>
    /// <param name="set">The pairs.</param>
    /// <param name="numbers">Which.</param>
    /// <param name="index">The batch's number.</param>
    internal static PreferenceBatch Of(PreferenceSet set, ImmutableArray<int> numbers, long index)
    {
        PreferencePair[] pairs = [.. numbers.Select(number => set.Pairs[number])];
        TokenizedExample[] rows = [.. pairs.Select(pair => pair.With(pair.Chosen)), .. pairs.Select(pair => pair.With(pair.Rejected))];
        return new(ExampleBatch.Of([.. rows.Select(row => new[] { row })], index), numbers);
    }
}
