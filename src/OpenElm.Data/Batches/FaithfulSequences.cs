using OpenElm.Data.Files;

namespace OpenElm.Data.Batches;

/// <summary>One text, one sequence: its first tokens, and the pad id behind a short one. Nothing is carried over.</summary>
internal sealed class FaithfulSequences : ShardSequences
{
    readonly int _padId;

    public FaithfulSequences(ShardTexts texts, DataCounters counters, int padId, ShardPosition start)
        : base(texts, counters) => (_padId, Position) = (padId, start);

    public override (DataFile File, long Record) Next(Span<int> row)
    {
        Texts.MoveNext();
        var text = Texts.Current;
        ReadOnlySpan<int> tokens = text.Tokens;
        tokens = tokens[..Math.Min(tokens.Length, row.Length)];
        tokens.CopyTo(row);
        row[tokens.Length..].Fill(_padId);
        Counters.TokensKept += tokens.Length;
        Counters.TokensPadded += row.Length - tokens.Length;
        Counters.TokensDropped += text.TokenCount - tokens.Length;
        Position = new ShardPosition(0, Texts.Epoch, Texts.FileIndex, text.Record, text.Group + 1);
        return (Texts.File, text.Record);
    }
}
