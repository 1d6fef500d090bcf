namespace OpenElm.Data.Examples;

/// <summary>Puts examples into the rows of a batch.</summary>
internal static class ExampleBatch
{
    /// <summary>Makes a batch as wide as its longest row.</summary>
    /// <param name="rows">The examples of each row.</param>
    /// <param name="index">The batch's number.</param>
    /// <returns>The batch; with positions, if a row holds several examples.</returns>
    public static TokenBatch Of(TokenizedExample[][] rows, long index)
    {
        int width = rows.Max(row => row.Sum(example => example.Positions));
        // Nothing looks back from padding, and its targets are ignored, so any id will do there; 0 is in every vocabulary.
        int[] inputs = new int[rows.Length * width], targets = new int[inputs.Length], positions = new int[inputs.Length];
        Array.Fill(targets, TokenBatch.IgnoredTarget);
        for (int row = 0; row < rows.Length; row++)
        {
            int at = row * width;
            foreach (TokenizedExample example in rows[row])
            {
                for (int i = 0; i < example.Positions; i++, at++)
                {
                    inputs[at] = example.Ids[i];
                    targets[at] = example.InLoss[i + 1] ? example.Ids[i + 1] : TokenBatch.IgnoredTarget;
                    positions[at] = i;
                }
            }

            for (int i = 0; at < (row + 1) * width; i++, at++)
            {
                positions[at] = i;
            }
        }

        return new TokenBatch(inputs, targets, rows.Length, width, index, rows[0][0].Origin) { Positions = rows.Any(row => row.Length > 1) ? positions : null };
    }
}
