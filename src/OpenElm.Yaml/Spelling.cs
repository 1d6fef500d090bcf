namespace OpenElm.Yaml;

/// <summary>Finds the word a user probably meant.</summary>
internal static class Spelling
{
    /// <summary>The end of a message: <c>; did you mean max_steps?</c>, or the possible words when none is near.</summary>
    public static string Hint(string word, IEnumerable<string> possible)
    {
        string[] words = [.. possible];
        string? nearest = words.Length == 0 ? null
            : words.FirstOrDefault(candidate => word.Length >= 4 && candidate.Contains(word)) // kv_heads: num_kv_heads
            ?? words.Where(candidate => Distance(word, candidate) <= Math.Max(2, word.Length / 3)).MinBy(candidate => Distance(word, candidate));
        return nearest is not null ? $"; did you mean {nearest}?"
            : words.Length > 0 ? $"; known here: {string.Join(", ", words)}." : ".";
    }

    /// <summary>Levenshtein: how many letters to add, remove or change.</summary>
    internal static int Distance(string a, string b)
    {
        int[] row = [.. Enumerable.Range(0, b.Length + 1)]; // distances of a[..i] to every b[..j]
        for (int i = 1; i <= a.Length; i++)
        {
            int diagonal = row[0];
            row[0] = i;
            for (int j = 1; j <= b.Length; j++)
            {
                int change = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
                diagonal = row[j];
                row[j] = Math.Min(change, Math.Min(row[j], row[j - 1]) + 1);
            }
        }

        return row[b.Length];
    }
}
