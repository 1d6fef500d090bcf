using OpenElm.Data.Readers;

namespace OpenElm.Data.Batches;

/// <summary>One sequence of held-out text, padded, and what its targets spell.</summary>
/// <param name="Tokens">[sequenceLength + 1]</param>
/// <param name="Origin">File and record where it begins.</param>
/// <param name="Targets">Targets that are not padding.</param>
/// <param name="Bytes">UTF-8 bytes of the targets.</param>
/// <param name="Words">Words of the targets.</param>
internal sealed record HeldOutRow(int[] Tokens, string Origin, int Targets, long Bytes, long Words)
{
    /// <summary>One row for each text; its first token is no target.</summary>
    public static IEnumerable<HeldOutRow> Faithful(IEnumerable<ScoredText> texts, int length, int padId)
    {
        foreach (ScoredText text in texts)
        {
            int targets = text.Left - 1;
            int[] row = Padded(length, padId);
            text.Take(1).Tokens.CopyTo(row);
            (ReadOnlyMemory<int> tokens, long bytes, long words) = text.Take(targets);
            tokens.CopyTo(row.AsMemory(1));
            yield return new HeldOutRow(row, DocumentReader.Place(text.File, text.Record), targets, bytes, words);
        }
    }

    /// <summary>Texts run on across rows, which overlap by one token: every token but the very first is a target once.</summary>
    public static IEnumerable<HeldOutRow> Packed(IEnumerable<ScoredText> texts, int length, int padId)
    {
        var row = new HeldOutRow(Padded(length, padId), "", 0, 0, 0);
        int column = 0;
        foreach (ScoredText text in texts)
        {
            string origin = DocumentReader.Place(text.File, text.Record);
            if (column == 0)
            {
                text.Take(1).Tokens.CopyTo(row.Tokens);
                row = row with { Origin = origin };
                column = 1;
            }

            while (text.Left > 0)
            {
                (ReadOnlyMemory<int> tokens, long bytes, long words) = text.Take(Math.Min(text.Left, length - column));
                tokens.CopyTo(row.Tokens.AsMemory(column));
                column += tokens.Length;
                row = row with { Targets = row.Targets + tokens.Length, Bytes = row.Bytes + bytes, Words = row.Words + words };
                if (column == length)
                {
                    yield return row;
                    int last = row.Tokens[^1];
                    row = new HeldOutRow(Padded(length, padId), origin, 0, 0, 0);
                    row.Tokens[0] = last;
                    column = 1;
                }
            }
        }

        if (row.Targets > 0)
        {
            yield return row;
        }
    }

    public static int[] Padded(int length, int padId)
    {
        var row = new int[length];
        row.AsSpan().Fill(padId);
        return row;
    }
}
