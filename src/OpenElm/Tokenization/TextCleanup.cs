using System.Buffers;
using System.Text;

namespace OpenElm.Tokenization;

/// <summary>
/// The clean-up that OpenELM's data pipeline applied to every text before encoding: ftfy 6.2.0's <c>fix_text</c> with its
/// defaults, except for one step. HTML character references, ligatures, character width, quotes, line breaks, surrogates,
/// terminal escapes, control characters and NFC are exactly as there. Left out is the repair of text that was decoded in a wrong
/// encoding (mojibake, and C1 control characters as Windows-1252): it needs that library's statistics of bad text.
/// </summary>
public static class TextCleanup
{
    /// <summary>A longer line is cut into pieces of so many code points, each cleaned by itself.</summary>
    const int LongestSegment = 1_000_000;

    // Nothing happens to a line of these. The ampersand may begin a character reference.
    static readonly SearchValues<char> Clean = SearchValues.Create(
        [.. Enumerable.Range(0, 0x7F).Select(i => (char)i).Where(c => c is '\t' or '\n' or '\f' or (>= ' ' and not '&'))]);

    /// <summary>Cleans a text line by line; each line until it stops changing.</summary>
    /// <param name="text">The text.</param>
    /// <returns>The cleaned text; the same string if there was nothing to do.</returns>
    public static string FixText(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        int suspect = text.AsSpan().IndexOfAnyExcept(Clean);
        if (suspect < 0)
        {
            return text;
        }
        var result = new StringBuilder(text.Length);
        bool unescape = true;
        int position = 0;
        while (suspect >= 0)
        {
            int start = text.LastIndexOf('\n', suspect) + 1;
            start = Math.Max(start, position);
            int newline = text.IndexOf('\n', suspect);
            int end = newline < 0 ? text.Length : newline + 1;
            // Clean lines are copied; once a '<' has been seen, the text is taken for HTML and its references stay.
            unescape = unescape && !text.AsSpan(position, start - position).Contains('<');
            result.Append(text, position, start - position);
            while (start < end)
            {
                int segmentEnd = EndOfSegment(text, start, end);
                string segment = text[start..segmentEnd];
                unescape = unescape && !segment.Contains('<');
                result.Append(FixSegment(segment, unescape));
                start = segmentEnd;
            }
            position = end;
            int next = text.AsSpan(position).IndexOfAnyExcept(Clean);
            suspect = next < 0 ? -1 : position + next;
        }
        return result.Append(text, position, text.Length - position).ToString();
    }

    static int EndOfSegment(string text, int start, int end)
    {
        if (end - start <= LongestSegment)
        {
            return end;
        }
        int at = start;
        for (int codePoints = 0; at < end && codePoints < LongestSegment; codePoints++)
        {
            at += at + 1 < end && char.IsSurrogatePair(text[at], text[at + 1]) ? 2 : 1;
        }
        return at;
    }

    static string FixSegment(string text, bool unescape)
    {
        while (true)
        {
            string before = text;
            text = unescape ? HtmlCharacterReferences.Replace(text) : text;
            text = TextFixes.SplitLigatures(text);
            text = TextFixes.StandardWidth(text);
            text = TextFixes.StraightQuotes(text);
            text = TextFixes.UnixLineBreaks(text);
            text = TextFixes.ReplaceLoneSurrogates(text);
            text = TextFixes.RemoveTerminalEscapes(text);
            text = TextFixes.RemoveControls(text);
            text = CanonicalComposition.Normalize(text);
            if (text == before)
            {
                return text;
            }
        }
    }
}
