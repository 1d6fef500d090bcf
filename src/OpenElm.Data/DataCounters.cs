namespace OpenElm.Data;

/// <summary>Counts of one worker while it works; drained into <see cref="DataStatistics"/> batch by batch.</summary>
internal sealed class DataCounters
{
    public long Documents;
    public long Characters;
    public long Texts;
    public long TextsTooShort;
    public long CharactersTooShort;
    public long TextsTooFewTokens;
    public long TokensKept;
    public long TokensPadded;
    public long TokensDropped;
    public long BadRecords;

    /// <summary>What was counted since the last call.</summary>
    public DataStatistics Drain()
    {
        var counted = new DataStatistics
        {
            Documents = Documents,
            Characters = Characters,
            Texts = Texts,
            TextsTooShort = TextsTooShort,
            CharactersTooShort = CharactersTooShort,
            TextsTooFewTokens = TextsTooFewTokens,
            TokensKept = TokensKept,
            TokensPadded = TokensPadded,
            TokensDropped = TokensDropped,
            BadRecords = BadRecords,
        };
        Documents = Characters = Texts = TextsTooShort = CharactersTooShort = TextsTooFewTokens = 0;
        TokensKept = TokensPadded = TokensDropped = BadRecords = 0;
        return counted;
    }
}
