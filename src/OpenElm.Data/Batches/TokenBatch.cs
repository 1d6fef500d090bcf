namespace OpenElm.Data;

/// <summary>Sequences of one training step.</summary>
/// <param name="Inputs">[sequences * sequenceLength], row after row.</param>
/// <param name="Targets">[sequences * sequenceLength], each input's next token; the pad id or <see cref="IgnoredTarget"/> where the loss must not look.</param>
/// <param name="Sequences">Rows.</param>
/// <param name="SequenceLength">Tokens of a row.</param>
/// <param name="Index">The batch's number in the one global order, from 0.</param>
/// <param name="Origin">File and record where the first row begins, for messages.</param>
public sealed record TokenBatch(int[] Inputs, int[] Targets, int Sequences, int SequenceLength, long Index, string Origin)
{
    /// <summary>The target where tuning's loss must not look.</summary>
    public const int IgnoredTarget = -100;

    /// <summary>
    /// [sequences * sequenceLength], the position of each input in its own record, where rows hold several records: 0 begins a
    /// record, and no record sees another. Null: a row is one record.
    /// </summary>
    public int[]? Positions { get; init; }

    /// <summary>Some of its rows.</summary>
    /// <param name="begin">The first.</param>
    /// <param name="end">Behind the last.</param>
    /// <returns>A batch of these rows.</returns>
    public TokenBatch Rows(int begin, int end)
    {
        Range range = (begin * SequenceLength)..(end * SequenceLength);
        return this with { Inputs = Inputs[range], Targets = Targets[range], Sequences = end - begin, Positions = Positions?[range] };
    }

    /// <summary>Splits <paramref name="rows"/> [sequences * (sequenceLength + 1)] into inputs and targets.</summary>
    internal static TokenBatch FromRows(ReadOnlySpan<int> rows, int sequences, long index, string origin)
    {
        int length = (rows.Length / sequences) - 1;
        var batch = new TokenBatch(new int[sequences * length], new int[sequences * length], sequences, length, index, origin);
        for (int row = 0; row < sequences; row++)
        {
            ReadOnlySpan<int> tokens = rows.Slice(row * (length + 1), length + 1);
            tokens[..length].CopyTo(batch.Inputs.AsSpan(row * length));
            tokens[1..].CopyTo(batch.Targets.AsSpan(row * length));
        }

        return batch;
    }
}
