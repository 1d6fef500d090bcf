namespace OpenElm.Data;

/// <summary>
/// What a stream read and what became of it, since it was opened and up to the last batch handed out. From prepared shards only
/// the texts that passed the filters are seen, so documents, characters and filter counts stay 0 there.
/// </summary>
public sealed record DataStatistics
{
    /// <summary>Documents read.</summary>
    public long Documents { get; init; }

    /// <summary>UTF-16 units of these documents.</summary>
    public long Characters { get; init; }

    /// <summary>Texts that they were split into (packing does not split).</summary>
    public long Texts { get; init; }

    /// <summary>Texts that the character filter dropped; they are not tokenized.</summary>
    public long TextsTooShort { get; init; }

    /// <summary>UTF-16 units of the texts that the character filter dropped.</summary>
    public long CharactersTooShort { get; init; }

    /// <summary>Texts that the token filter dropped.</summary>
    public long TextsTooFewTokens { get; init; }

    /// <summary>Tokens, BOS and EOS included, that stand in a sequence.</summary>
    public long TokensKept { get; init; }

    /// <summary>Places of sequences filled with the pad id.</summary>
    public long TokensPadded { get; init; }

    /// <summary>Tokens cut off at the end of a sequence or dropped by the token filter.</summary>
    public long TokensDropped { get; init; }

    /// <summary>Records and files skipped because they could not be read.</summary>
    public long BadRecords { get; init; }

    /// <summary>Batches handed out.</summary>
    public long Batches { get; init; }

    /// <summary>Time that <see cref="BatchStream.Next"/> waited for a batch that was not ready.</summary>
    public TimeSpan Waited { get; init; }

    /// <summary>Sums two parts of a stream.</summary>
    /// <param name="other">The other part.</param>
    /// <returns>The sum.</returns>
    public DataStatistics Plus(DataStatistics other) => new()
    {
        Documents = Documents + other.Documents,
        Characters = Characters + other.Characters,
        Texts = Texts + other.Texts,
        TextsTooShort = TextsTooShort + other.TextsTooShort,
        CharactersTooShort = CharactersTooShort + other.CharactersTooShort,
        TextsTooFewTokens = TextsTooFewTokens + other.TextsTooFewTokens,
        TokensKept = TokensKept + other.TokensKept,
        TokensPadded = TokensPadded + other.TokensPadded,
        TokensDropped = TokensDropped + other.TokensDropped,
        BadRecords = BadRecords + other.BadRecords,
        Batches = Batches + other.Batches,
        Waited = Waited + other.Waited,
    };
}
