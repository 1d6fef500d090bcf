namespace OpenElm.Inference.Generation.Speculation;

/// <summary>The speculation of one run: a proposer, its pace, and what came of it.</summary>
/// <param name="proposer">Who guesses.</param>
/// <param name="pace">How many.</param>
internal sealed class Speculator(IProposer proposer, SpeculationPace pace)
{
    /// <summary>Counts so far.</summary>
    public SpeculationCounts Counts { get; private set; }

    /// <summary>Writes guesses behind a sequence.</summary>
    /// <param name="sequence">[at least length + room].</param>
    /// <param name="length">Tokens so far.</param>
    /// <param name="room">At most this many guesses.</param>
    /// <returns>How many there are.</returns>
    public int Propose(Span<int> sequence, int length, int room) =>
        Math.Min(pace.Wanted, room) is > 0 and int count ? proposer.Propose(sequence, length, count) : 0;

    /// <summary>The distribution from which a guess was drawn; empty where it was not drawn.</summary>
    /// <param name="index">Which of the last guesses.</param>
    /// <returns>[candidates] probabilities.</returns>
    public ReadOnlySpan<float> Probabilities(int index) => proposer.Probabilities(index);

    /// <summary>Takes note of a pass.</summary>
    /// <param name="proposed">Guesses that were fed.</param>
    /// <param name="accepted">Guesses that the model chose too.</param>
    public void Report(int proposed, int accepted)
    {
        pace.Report(proposed, accepted);
        if (proposed > 0)
        {
            Counts = new SpeculationCounts(Counts.Passes + 1, Counts.Proposed + proposed, Counts.Accepted + accepted);
        }
    }
}
