using System.Collections.Immutable;

namespace OpenElm.Data;

/// <summary>A prompt and two responses as the model sees them, one preferred to the other.</summary>
/// <param name="Prompt">[p] token ids before the responses, p ≥ 1; the loss does not look at them.</param>
/// <param name="Chosen">[c] token ids of the better response, c ≥ 1.</param>
/// <param name="Rejected">[r] token ids of the worse response, r ≥ 1.</param>
/// <param name="Origin">File and record, for messages.</param>
public sealed record PreferencePair(ImmutableArray<int> Prompt, ImmutableArray<int> Chosen, ImmutableArray<int> Rejected, string Origin)
{
    /// <summary>Positions that the model computes for the longer of the two sequences: each token but the last is an input.</summary>
    public int Positions => Prompt.Length + Math.Max(Chosen.Length, Rejected.Length) - 1;

    /// <summary>The prompt with a response, which alone is in the loss.</summary>
    internal TokenizedExample With(ImmutableArray<int> response) =>
        new([.. Prompt, .. response], [.. Enumerable.Repeat(false, Prompt.Length), .. Enumerable.Repeat(true, response.Length)], Origin);
}
