namespace OpenElm.Inference.Generation.Speculation;

/// <summary>Guesses the next tokens of a sequence; the model verifies them in one pass.</summary>
internal interface IProposer
{
    /// <summary>What one proposal costs, in passes of the model over one token.</summary>
    double Cost { get; }

    /// <summary>Writes guesses behind a sequence.</summary>
    /// <param name="sequence">[at least length + count]; the guesses go behind the first <paramref name="length"/>.</param>
    /// <param name="length">Tokens so far.</param>
    /// <param name="count">How many guesses are wanted.</param>
    /// <returns>How many there are.</returns>
    int Propose(Span<int> sequence, int length, int count);

    /// <summary>The distribution from which a guess was drawn; empty where it was not drawn.</summary>
    /// <param name="index">Which of the last guesses.</param>
    /// <returns>[candidates] probabilities.</returns>
    ReadOnlySpan<float> Probabilities(int index);
}
