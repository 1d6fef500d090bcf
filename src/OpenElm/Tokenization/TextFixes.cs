using System.Buffers;
using System.Collections.Frozen;
using System.Text;

namespace OpenElm.Tokenization;

/// <summary>The single steps of <see cref="TextCleanup"/>; each gives back the same string if it has nothing to do.</summary>
internal static class TextFixes
{
    const char Escape = '\u001B';

    // Typographical ligatures and digraphs of Latin letters; æ and œ are letters and stay.
    // Each entry: the character, then what it is replaced with.
    static readonly FrozenDictionary<char, string> Ligatures =
        "ﬀff ﬁfi ﬂfl ﬃffi ﬄffl ﬅſt ﬆst ĲIJ ĳij ŉʼn ǄDŽ ǅDž ǆdž ǇLJ ǈLj ǉlj ǊNJ ǋNj ǌnj ǱDZ ǲDz ǳdz"
            .Split(' ').ToFrozenDictionary(entry => entry[0], entry => entry[1..]);

    static readonly FrozenDictionary<char, string> Widths = TextTables.Rows("width.txt")
        .ToFrozenDictionary(row => (char)TextTables.Code(row[0]), row => TextTables.Characters(row.AsSpan(1)));

    static readonly SearchValues<char> AnyLigature = SearchValues.Create([.. Ligatures.Keys]);

    static readonly SearchValues<char> AnyWidth = SearchValues.Create([.. Widths.Keys]);

    static readonly SearchValues<char> AnyQuote = SearchValues.Create("\u02BC\u2018\u2019\u201A\u201B\u201C\u201D\u201E\u201F");

    static readonly SearchValues<char> AnyLineBreak = SearchValues.Create("\r\u0085\u2028\u2029");

    static readonly SearchValues<char> AnyControl = SearchValues.Create(
        [.. Enumerable.Range(0, 0x10000).Select(i => (char)i).Where(IsUnwantedControl)]);

    public static string SplitLigatures(string text) => Translate(text, AnyLigature, Ligatures);

    public static string StandardWidth(string text) => Translate(text, AnyWidth, Widths);

    public static string StraightQuotes(string text)
    {
        int first = text.AsSpan().IndexOfAny(AnyQuote);
        return first < 0 ? text : string.Create(text.Length, (text, first), static (result, state) =>
        {
            state.text.CopyTo(result);
            for (int at = state.first; ;)
            {
                result[at] = result[at] is >= '\u201C' and <= '\u201F' ? '"' : '\'';
                int next = result[(at + 1)..].IndexOfAny(AnyQuote);
                if (next < 0)
                {
                    return;
                }
                at += 1 + next;
            }
        });
    }

    public static string UnixLineBreaks(string text) => text.AsSpan().IndexOfAny(AnyLineBreak) < 0
        ? text
        : text.Replace("\r\n", "\n").Replace('\r', '\n').Replace('\u2028', '\n').Replace('\u2029', '\n').Replace('\u0085', '\n');

    public static string ReplaceLoneSurrogates(string text)
    {
        if (text.AsSpan().IndexOfAnyInRange('\uD800', '\uDFFF') < 0)
        {
            return text;
        }
        char[]? result = null;
        for (int i = 0; i < text.Length; i++)
        {
            if (!char.IsSurrogate(text[i]))
            {
                continue;
            }
            if (i + 1 < text.Length && char.IsSurrogatePair(text[i], text[i + 1]))
            {
                i++;
                continue;
            }
            (result ??= text.ToCharArray())[i] = '\uFFFD';
        }
        return result is null ? text : new string(result);
    }

    /// <summary>Removes <c>ESC [ digits and semicolons letter</c>. A digit is any decimal digit of Unicode.</summary>
    public static string RemoveTerminalEscapes(string text)
    {
        int at = text.IndexOf(Escape);
        if (at < 0)
        {
            return text;
        }
        var result = new StringBuilder(text.Length);
        int copied = 0;
        for (; at >= 0; at = text.IndexOf(Escape, Math.Max(at + 1, copied)))
        {
            int end = at + 1;
            if (end == text.Length || text[end] != '[')
            {
                continue;
            }
            end++;
            while (end < text.Length)
            {
                Rune.DecodeFromUtf16(text.AsSpan(end), out Rune rune, out int length);
                if (rune.Value != ';' && !Rune.IsDigit(rune))
                {
                    break;
                }
                end += length;
            }
            if (end < text.Length && char.IsAsciiLetter(text[end]))
            {
                result.Append(text, copied, at - copied);
                copied = end + 1;
            }
        }
        return copied == 0 ? text : result.Append(text, copied, text.Length - copied).ToString();
    }

    public static string RemoveControls(string text)
    {
        if (text.AsSpan().IndexOfAny(AnyControl) < 0)
        {
            return text;
        }
        var result = new StringBuilder(text.Length);
        foreach (char c in text)
        {
            if (!IsUnwantedControl(c))
            {
                result.Append(c);
            }
        }
        return result.ToString();
    }

    static bool IsUnwantedControl(char c) => c is <= '\u0008' or '\u000B' or (>= '\u000E' and <= '\u001F') or '\u007F'
        or (>= '\u206A' and <= '\u206F') or '\uFEFF' or (>= '\uFFF9' and <= '\uFFFC');

    static string Translate(string text, SearchValues<char> any, FrozenDictionary<char, string> table)
    {
        int at = text.AsSpan().IndexOfAny(any);
        if (at < 0)
        {
            return text;
        }
        var result = new StringBuilder(text.Length + 16);
        int copied = 0;
        while (at >= 0)
        {
            result.Append(text, copied, at - copied).Append(table[text[at]]);
            copied = at + 1;
            int next = text.AsSpan(copied).IndexOfAny(any);
            at = next < 0 ? -1 : copied + next;
        }
        return result.Append(text, copied, text.Length - copied).ToString();
    }
}
