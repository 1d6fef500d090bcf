using System.Collections.Immutable;

namespace OpenElm.Data;

/// <summary>What a corpus holds and what one epoch of it becomes.</summary>
/// <param name="Sources">The corpus, source by source.</param>
/// <param name="Modes">What each mode makes of it, under the configuration's filters.</param>
/// <param name="Samples">Sequences as the trainer sees them.</param>
public sealed record DataReport(ImmutableArray<SourceReport> Sources, ImmutableArray<ModeReport> Modes, ImmutableArray<SampleSequence> Samples);

/// <summary>One source of a corpus.</summary>
/// <param name="FileName">The pattern.</param>
/// <param name="Files">Its files.</param>
/// <param name="Bytes">Their length on disk.</param>
/// <param name="Documents">Documents in them.</param>
/// <param name="Characters">UTF-16 units of the documents.</param>
/// <param name="Tokens">Tokens of the documents as a whole, with BOS and EOS, before any filter.</param>
/// <param name="BadRecords">Records that could not be read and were skipped.</param>
public sealed record SourceReport(string FileName, int Files, long Bytes, long Documents, long Characters, long Tokens, long BadRecords);

/// <summary>What one mode makes of one epoch.</summary>
/// <param name="Mode">The mode.</param>
/// <param name="Sequences">Sequences of the configured length.</param>
/// <param name="Texts">Texts that the documents are split into.</param>
/// <param name="TextsTooShort">Texts that the character filter drops.</param>
/// <param name="TextsTooFewTokens">Texts that the token filter drops.</param>
/// <param name="TokensKept">Tokens that stand in a sequence.</param>
/// <param name="TokensDropped">Tokens cut off or of dropped texts.</param>
/// <param name="TokensPadded">Places of sequences filled with the pad id.</param>
public sealed record ModeReport(
    DataMode Mode, long Sequences, long Texts, long TextsTooShort, long TextsTooFewTokens, long TokensKept, long TokensDropped, long TokensPadded)
{
    /// <summary>Kept tokens among all tokens.</summary>
    public double KeptShare => Share(TokensKept, TokensKept + TokensDropped);

    /// <summary>Dropped tokens among all tokens.</summary>
    public double DroppedShare => Share(TokensDropped, TokensKept + TokensDropped);

    /// <summary>Padding among all places of the sequences: compute spent on nothing.</summary>
    public double PaddedShare => Share(TokensPadded, TokensKept + TokensPadded);

    static double Share(long part, long whole) => whole == 0 ? 0 : (double)part / whole;
}

/// <summary>One sequence, spelled out.</summary>
/// <param name="Origin">File and record where it begins.</param>
/// <param name="Tokens">Tokens that are not padding.</param>
/// <param name="Text">These tokens decoded.</param>
public sealed record SampleSequence(string Origin, int Tokens, string Text);
