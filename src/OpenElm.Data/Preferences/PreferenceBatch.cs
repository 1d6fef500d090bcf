using System.Collections.Immutable;
using OpenElm.Data.Examples;

namespace OpenElm.Data;

/// <summary>Pairs of one forward pass.</summary>
/// <param name="Sequences">[2 * pairs] rows, as wide as the longest: first prompt and chosen response of each pair, then prompt and rejected response of each. Only tokens of responses are targets.</param>
/// <param name="Pairs">[pairs] numbers of the pairs in the <see cref="PreferenceSet"/>.</param>
public sealed record PreferenceBatch(TokenBatch Sequences, ImmutableArray<int> Pairs)
{
    /// <summary>Some of its pairs.</summary>
    /// <param name="begin">The first.</param>
    /// <param name="end">Behind the last.</param>
    /// <returns>A batch of these pairs, as wide as this one.</returns>
    public PreferenceBatch PairsOf(int begin, int end)
    {
        TokenBatch chosen = Sequences.Rows(begin, end), rejected = Sequences.Rows(Pairs.Length + begin, Pairs.Length + end);
        return new(chosen with { Inputs = [.. chosen.Inputs, .. rejected.Inputs], Targets = [.. chosen.Targets, .. rejected.Targets], Sequences = 2 * (end - begin) }, Pairs[begin..end]);
    }

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
