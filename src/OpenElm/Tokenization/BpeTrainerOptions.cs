namespace OpenElm.Tokenization;

/// <summary>Settings of <see cref="BpeTrainer"/>. The defaults are those of LLaMA's tokenizer.</summary>
public sealed record BpeTrainerOptions
{
    /// <summary>Number of pieces, with the special, byte and blank pieces and the characters.</summary>
    public int VocabularySize { get; init; } = 32000;

    /// <summary>Share of the text's characters that get a piece of their own; the rest is written in byte pieces.</summary>
    public double CharacterCoverage { get; init; } = 0.9995;

    /// <summary>Keeps every digit a piece of its own.</summary>
    public bool SplitDigits { get; init; } = true;

    /// <summary>Adds the 256 byte pieces, so that no character is unknown.</summary>
    public bool ByteFallback { get; init; } = true;

    /// <summary>Longest piece in characters.</summary>
    public int MaxPieceLength { get; init; } = 16;

    /// <summary>Longest run of blanks that is one piece; LLaMA has all from 1 to 16. 1: none beside the single blank.</summary>
    public int MaxBlankRun { get; init; } = 16;
}
