namespace OpenElm.Tokenization;

/// <summary>How one text is encoded. All are off by default: then the ids are exactly SentencePiece's.</summary>
public sealed record TokenizerOptions
{
    /// <summary>Puts the beginning-of-sequence id in front.</summary>
    public bool AddBos { get; init; }

    /// <summary>Puts the end-of-sequence id at the end.</summary>
    public bool AddEos { get; init; }

    /// <summary>
    /// Encodes the text of special pieces (<c>&lt;s&gt;</c>, <c>&lt;/s&gt;</c>, <c>&lt;unk&gt;</c>) as their ids. What stands
    /// between them is encoded as texts of their own, each with its own leading blank, as Hugging Face's LLaMA tokenizer does.
    /// </summary>
    public bool RecognizeSpecialPieces { get; init; }

    /// <summary>Applies <see cref="TextCleanup.FixText"/> first. Offsets then count in the cleaned text.</summary>
    public bool CleanUp { get; init; }

    internal static TokenizerOptions Plain { get; } = new();
}
