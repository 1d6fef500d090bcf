namespace OpenElm.Data.Texts;

/// <summary>
/// Measures a text as CoreNet's character filter does: lower-cased, the 32 ASCII punctuation characters deleted, stripped, each run
/// of white space one space; in code points. The text itself stays as it is.
/// </summary>
internal static class CharacterFilter
{
    /// <summary>Whether the measured length is at least <paramref name="minimum"/>; looks no further than it must.</summary>
    public static bool Passes(ReadOnlySpan<char> text, int minimum) => minimum <= 0 || Measure(text, minimum) >= minimum;

    /// <summary>The measured length, or <paramref name="enough"/> or slightly more if it is at least that.</summary>
    public static int Measure(ReadOnlySpan<char> text, int enough = int.MaxValue)
    {
        int length = 0;
        bool pendingSpace = false;
        for (int i = 0; i < text.Length && length < enough; i++)
        {
            char c = text[i];
            if (char.IsAscii(c) && (char.IsPunctuation(c) || char.IsSymbol(c)))
            {
                continue;
            }

            if (IsPythonSpace(c))
            {
                pendingSpace = length > 0; // leading space is stripped; trailing space is never counted
                continue;
            }

            if (char.IsHighSurrogate(c) && i + 1 < text.Length && char.IsLowSurrogate(text[i + 1]))
            {
                i++;
            }

            // U+0130 is the one letter whose lower case is two code points.
            length += (pendingSpace ? 1 : 0) + (c == '\u0130' ? 2 : 1);
            pendingSpace = false;
        }

        return length;
    }

    // Python counts the four information separators as white space, .NET does not.
    static bool IsPythonSpace(char c) => char.IsWhiteSpace(c) || c is >= '\u001C' and <= '\u001F';
}
