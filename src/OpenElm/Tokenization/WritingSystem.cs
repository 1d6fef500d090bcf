using System.Globalization;
using System.Text;

namespace OpenElm.Tokenization;

/// <summary>
/// Which characters may stand together in a piece: letters of one script, or punctuation and symbols, or digits. The scripts are
/// told apart by the blocks of Unicode, which is coarser than its script table but needs no table of its own.
/// </summary>
internal static class WritingSystem
{
    /// <summary>A combining mark: belongs to whatever stands before it.</summary>
    public const int Inherited = 0;

    /// <summary>Never in a piece: control characters, line ends and what is no character.</summary>
    public const int Excluded = 1;

    public const int Blank = 2;

    public const int Digit = 3;

    /// <summary>Punctuation and symbols; every number from here on may make long words.</summary>
    public const int Common = 4;

    const int Latin = 5, Greek = 6, Cyrillic = 7, Hebrew = 8, Arabic = 9, Hangul = 10, Ethiopic = 11, Han = 12;

    // Other letters: each block of 128 characters is a script.
    const int FirstOther = 16;

    static readonly (int First, int Last, int Script)[] Blocks =
    [
        (0x0041, 0x02FF, Latin), (0x0370, 0x03FF, Greek), (0x0400, 0x052F, Cyrillic), (0x0590, 0x05FF, Hebrew),
        (0x0600, 0x06FF, Arabic), (0x0750, 0x077F, Arabic), (0x08A0, 0x08FF, Arabic), (0x1100, 0x11FF, Hangul),
        (0x1200, 0x139F, Ethiopic), (0x1C80, 0x1C8F, Cyrillic), (0x1D00, 0x1DBF, Latin), (0x1E00, 0x1EFF, Latin),
        (0x1F00, 0x1FFF, Greek), (0x2C60, 0x2C7F, Latin), (0x2D80, 0x2DDF, Ethiopic), (0x2DE0, 0x2DFF, Cyrillic),
        (0x2E80, 0x312F, Han), (0x3130, 0x318F, Hangul), (0x31A0, 0x9FFF, Han), (0xA640, 0xA69F, Cyrillic),
        (0xA720, 0xA7FF, Latin), (0xA960, 0xA97F, Hangul), (0xAB00, 0xAB2F, Ethiopic), (0xAB30, 0xAB6F, Latin),
        (0xAC00, 0xD7FF, Hangul), (0xF900, 0xFAFF, Han), (0xFB00, 0xFB06, Latin), (0xFB1D, 0xFB4F, Hebrew),
        (0xFB50, 0xFDFF, Arabic), (0xFE70, 0xFEFF, Arabic), (0xFF21, 0xFF5A, Latin), (0xFF66, 0xFF9F, Han),
        (0xFFA0, 0xFFDC, Hangul), (0x1B000, 0x1B16F, Han), (0x20000, 0x3FFFF, Han),
    ];

    static readonly byte[] AsciiClasses = [.. Enumerable.Range(0, 128).Select(code => (byte)Classify(new Rune(code)))];

    /// <summary>[128] the writing systems of the first characters.</summary>
    public static ReadOnlySpan<byte> Ascii => AsciiClasses;

    public static int Of(Rune rune) => rune.IsAscii ? AsciiClasses[rune.Value] : Classify(rune);

    static int Classify(Rune rune)
    {
        if (rune.Value is ' ' or SentencePieceModel.BlankSymbol)
        {
            return Blank;
        }
        return Rune.GetUnicodeCategory(rune) switch
        {
            UnicodeCategory.Control or UnicodeCategory.OtherNotAssigned or UnicodeCategory.PrivateUse or UnicodeCategory.Surrogate
                or UnicodeCategory.LineSeparator or UnicodeCategory.ParagraphSeparator => Excluded,
            UnicodeCategory.NonSpacingMark or UnicodeCategory.EnclosingMark or UnicodeCategory.SpacingCombiningMark => Inherited,
            UnicodeCategory.DecimalDigitNumber => Digit,
            UnicodeCategory.UppercaseLetter or UnicodeCategory.LowercaseLetter or UnicodeCategory.TitlecaseLetter
                or UnicodeCategory.ModifierLetter or UnicodeCategory.OtherLetter => Script(rune.Value),
            _ => Common,
        };
    }

    static int Script(int code)
    {
        foreach ((int first, int last, int script) in Blocks)
        {
            if (code >= first && code <= last)
            {
                return script;
            }
        }
        return FirstOther + (code >> 7);
    }
}
