namespace OpenElm.Evaluation.Tasks;

/// <summary>Where Python's strings differ from ours.</summary>
internal static class PythonText
{
    /// <summary><c>str.strip()</c>: also drops the separators U+001C to U+001F, which are no white space here.</summary>
    /// <param name="text">The text.</param>
    /// <returns>Without white space at both ends.</returns>
    public static string Strip(string text)
    {
        int start = 0, end = text.Length;
        while (start < end && IsSpace(text[start]))
        {
            start++;
        }

        while (end > start && IsSpace(text[end - 1]))
        {
            end--;
        }

        return text[start..end];
    }

    /// <summary><c>len(re.split(r"\s+", text))</c>: the empty parts at the ends count.</summary>
    /// <param name="text">The text.</param>
    /// <returns>At least 1.</returns>
    public static int CountParts(string text)
    {
        int parts = 1;
        for (int i = 0; i < text.Length; i++)
        {
            parts += IsSpace(text[i]) && (i == 0 || !IsSpace(text[i - 1])) ? 1 : 0;
        }

        return parts;
    }

    /// <summary><c>str.isspace()</c> of one character.</summary>
    /// <param name="c">The character.</param>
    /// <returns>Whether it is white space.</returns>
    public static bool IsSpace(char c) => char.IsWhiteSpace(c) || c is >= '\x1c' and <= '\x1f';
}
