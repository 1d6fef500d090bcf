namespace OpenElm.Tokenization;

/// <summary>Settings of <see cref="BpeTrainer"/>. The defaults are those of LLaMA's tokenizer.</summary>
public sealed record BpeTrainerOptions
{
    /// <summary>Number of pieces, with the special, byte and blank pieces and the characters.</summary>
    public int VocabularySize { get; init; } = 32000;

    /// <summary>Share of the text's characters that get a piece of their own; the rest is written in byte pieces.</summary>
    public double CharacterCoverage { get; init; } = 0.9995;

    /// <summary>Keeps every digit a piece of its own; otherwise runs of digits may be merged.</summary>
    public bool SplitDigits { get; init; } = true;

    /// <summary>Adds the 256 byte pieces, so that no character is unknown.</summary>
    public bool ByteFallback { get; init; } = true;

    /// <summary>Longest piece, in code points.</summary>
    public int MaxPieceLength { get; init; } = 16;

    /// <summary>Longest run of blanks that is one piece; LLaMA has all from 1 to 16. 1: none beside the single blank.</summary>
    public int MaxBlankRun { get; init; } = 16;

    /// <summary>Threads that count words; the result does not depend on it.</summary>
    public int Threads { get; init; } = Environment.ProcessorCount;

    internal void Validate()
    {
        var problems = new List<string>();
        if (VocabularySize is < 1 or > 16_000_000)
        {
            problems.Add($"the vocabulary size is {VocabularySize}; it must be between 1 and 16,000,000 (scores are exact up to there)");
        }
        if (CharacterCoverage is not (> 0 and <= 1))
        {
            problems.Add($"the character coverage is {CharacterCoverage}; it must be in (0, 1]");
        }
        if (MaxPieceLength < 1)
        {
            problems.Add($"the longest piece is {MaxPieceLength} characters; it must be at least 1");
        }
        if (MaxBlankRun < 1)
        {
            problems.Add($"the longest run of blanks is {MaxBlankRun}; it must be at least 1");
        }
        if (Threads < 1)
        {
            problems.Add($"the number of threads is {Threads}; it must be at least 1");
        }
        if (problems.Count > 0)
        {
            throw OpenElmException.Of("Invalid tokenizer training options", problems);
        }
    }
}
