using System.Collections.Frozen;
using System.Text;

namespace OpenElm.Tokenization;

/// <summary>
/// Replaces HTML character references that end in a semicolon: all names of HTML5, names in capitals where that is unambiguous,
/// and numbers as Python's <c>html.unescape</c> reads them.
/// </summary>
internal static class HtmlCharacterReferences
{
    const int LongestName = 24;

    static readonly FrozenDictionary<string, string> Names = TextTables.Rows("entities.txt")
        .ToFrozenDictionary(row => row[0].TrimEnd(';'), row => TextTables.Characters(row.AsSpan(1)));

    static readonly FrozenDictionary<string, string>.AlternateLookup<ReadOnlySpan<char>> FindName =
        Names.GetAlternateLookup<ReadOnlySpan<char>>();

    // What Windows-1252 has in the places of the C1 control characters; 0: the control character itself.
    static ReadOnlySpan<char> Windows1252 =>
        "€\0‚ƒ„…†‡ˆ‰Š‹Œ\0Ž\0\0‘’“”•–—˜™š›œ\0žŸ";

    public static string Replace(string text)
    {
        int at = text.IndexOf('&');
        if (at < 0)
        {
            return text;
        }
        StringBuilder? result = null;
        int copied = 0;
        while (at >= 0)
        {
            int end = EndOfReference(text, at);
            if (end > 0 && Decode(text.AsSpan()[(at + 1)..end]) is string characters)
            {
                (result ??= new StringBuilder(text.Length)).Append(text, copied, at - copied).Append(characters);
                copied = end + 1;
            }
            at = text.IndexOf('&', Math.Max(at, end) + 1);
        }
        return result?.Append(text, copied, text.Length - copied).ToString() ?? text;
    }

    /// <summary>Index of the semicolon, or −1 if the characters after the ampersand are no reference.</summary>
    static int EndOfReference(string text, int ampersand)
    {
        int first = ampersand + 1;
        if (first < text.Length && text[first] == '#')
        {
            first++;
        }
        int end = first;
        while (end < text.Length && end - first <= LongestName && char.IsAsciiLetterOrDigit(text[end]))
        {
            end++;
        }
        return end < text.Length && text[end] == ';' && end - first is > 0 and <= LongestName ? end : -1;
    }

    static string? Decode(ReadOnlySpan<char> reference)
    {
        if (reference[0] != '#')
        {
            return FindName.TryGetValue(reference, out string? characters) ? characters : null;
        }
        ReadOnlySpan<char> digits = reference[1..];
        int radix = 10;
        if (digits[0] is 'x' or 'X')
        {
            digits = digits[1..];
            radix = 16;
        }
        if (digits.IsEmpty)
        {
            return null;
        }
        const int TooLarge = 0x110000;
        int code = 0;
        foreach (char c in digits)
        {
            int digit = char.IsAsciiHexDigit(c) ? Convert.ToInt32(c.ToString(), 16) : radix;
            if (digit >= radix)
            {
                return null;
            }
            code = Math.Min((code * radix) + digit, TooLarge); // any larger number is as wrong as this one
        }
        // A reference to the semicolon stays: the rule says that none may be left over.
        return code == ';' ? null : Character(code);
    }

    static string Character(int code) => code switch
    {
        0 or (>= 0xD800 and <= 0xDFFF) or > 0x10FFFF => "\uFFFD",
        >= 0x80 and <= 0x9F => (Windows1252[code - 0x80] is var c and not '\0' ? c : (char)code).ToString(),
        (>= 1 and <= 8) or 0xB or (>= 0xE and <= 0x1F) or 0x7F => "",
        (>= 0xFDD0 and <= 0xFDEF) => "",
        _ when (code & 0xFFFE) == 0xFFFE => "",
        _ => new Rune(code).ToString(),
    };
}
