using System.Text;

namespace OpenElm.Tokenization;

/// <summary>
/// Unicode normalization form C (Unicode Standard Annex 15), with tables of our own: .NET's <c>string.Normalize</c> does nothing
/// in programs with invariant globalization, and elsewhere follows the version of the operating system's library.
/// </summary>
internal static class CanonicalComposition
{
    const int HangulFirst = 0xAC00, LeadFirst = 0x1100, VowelFirst = 0x1161, TailFirst = 0x11A7;
    const int Leads = 19, Vowels = 21, Tails = 28;

    // Below are only composed characters and starters that stay as they are.
    const char FirstInteresting = '\u0300';

    static readonly Dictionary<int, int[]> Decompositions = [];
    static readonly Dictionary<(int, int), int> Compositions = [];
    static readonly Dictionary<int, byte> Classes = [];

    // Characters that may change, or change their neighbours: bits for the first plane, a set for the others.
    static readonly ulong[] Interesting = new ulong[(char.MaxValue + 1) / 64];
    static readonly HashSet<int> InterestingSupplementary = [];

    static CanonicalComposition()
    {
        foreach (string[] row in TextTables.Rows("canonical.txt"))
        {
            int[] codes = [.. row.Skip(1).Select(TextTables.Code)];
            switch (row[0])
            {
                case "D":
                    Decompositions.Add(codes[0], codes[1..]);
                    break;
                case "P":
                    Compositions.Add((codes[0], codes[1]), codes[2]);
                    MarkInteresting(codes[1]);
                    break;
                default:
                    for (int code = codes[0]; code <= codes[1]; code++)
                    {
                        Classes.Add(code, (byte)codes[2]);
                        MarkInteresting(code);
                    }
                    break;
            }
        }
        HashSet<int> composed = [.. Compositions.Values];
        foreach (int code in Decompositions.Keys)
        {
            if (!composed.Contains(code))
            {
                MarkInteresting(code); // singletons and exclusions are never composed again
            }
        }
        for (int code = VowelFirst; code < VowelFirst + Vowels; code++)
        {
            MarkInteresting(code);
        }
        for (int code = TailFirst + 1; code < TailFirst + Tails; code++)
        {
            MarkInteresting(code);
        }
    }

    /// <summary>Normalizes a text without lone surrogates.</summary>
    /// <param name="text">The text.</param>
    /// <returns>The same string if nothing changes.</returns>
    public static string Normalize(string text)
    {
        if (!MayChange(text))
        {
            return text;
        }
        var codes = new List<int>(text.Length + 8);
        foreach (Rune rune in text.EnumerateRunes())
        {
            Decompose(rune.Value, codes);
        }
        SortMarks(codes);
        Compose(codes);
        var result = new StringBuilder(text.Length);
        foreach (int code in codes)
        {
            result.Append(new Rune(code).ToString());
        }
        return text.AsSpan().SequenceEqual(result.ToString()) ? text : result.ToString();
    }

    static bool MayChange(string text)
    {
        int first = text.AsSpan().IndexOfAnyInRange(FirstInteresting, char.MaxValue);
        for (int i = first; i >= 0 && i < text.Length; i++)
        {
            char c = text[i];
            if ((Interesting[c >> 6] & (1UL << c)) != 0)
            {
                return true;
            }
            if (char.IsHighSurrogate(c) && Rune.TryGetRuneAt(text, i, out Rune rune) && InterestingSupplementary.Contains(rune.Value))
            {
                return true;
            }
        }
        return false;
    }

    static void MarkInteresting(int code)
    {
        if (code <= char.MaxValue)
        {
            Interesting[code >> 6] |= 1UL << code;
        }
        else
        {
            InterestingSupplementary.Add(code);
        }
    }

    static void Decompose(int code, List<int> codes)
    {
        int syllable = code - HangulFirst;
        if (syllable is >= 0 and < Leads * Vowels * Tails)
        {
            codes.Add(LeadFirst + (syllable / (Vowels * Tails)));
            codes.Add(VowelFirst + (syllable / Tails % Vowels));
            if (syllable % Tails != 0)
            {
                codes.Add(TailFirst + (syllable % Tails));
            }
        }
        else if (Decompositions.TryGetValue(code, out int[]? parts))
        {
            codes.AddRange(parts);
        }
        else
        {
            codes.Add(code);
        }
    }

    // Stable insertion sort of each run of marks by combining class.
    static void SortMarks(List<int> codes)
    {
        for (int i = 1; i < codes.Count; i++)
        {
            int code = codes[i];
            int mark = ClassOf(code);
            int at = i;
            while (mark != 0 && at > 0 && ClassOf(codes[at - 1]) > mark)
            {
                codes[at] = codes[at - 1];
                at--;
            }
            codes[at] = code;
        }
    }

    static void Compose(List<int> codes)
    {
        int starter = -1;
        int kept = 0;
        int lastClass = -1;
        for (int i = 0; i < codes.Count; i++)
        {
            int code = codes[i];
            int mark = ClassOf(code);
            // Blocked if something of the same or a higher class, or another starter, stands between.
            if (starter >= 0 && lastClass < mark && TryCompose(codes[starter], code, out int composed))
            {
                codes[starter] = composed;
                continue;
            }
            if (mark == 0)
            {
                starter = kept;
            }
            lastClass = mark == 0 ? -1 : mark;
            codes[kept++] = code;
        }
        codes.RemoveRange(kept, codes.Count - kept);
    }

    static bool TryCompose(int first, int second, out int composed)
    {
        int lead = first - LeadFirst, vowel = second - VowelFirst;
        if (lead is >= 0 and < Leads && vowel is >= 0 and < Vowels)
        {
            composed = HangulFirst + (((lead * Vowels) + vowel) * Tails);
            return true;
        }
        int syllable = first - HangulFirst, tail = second - TailFirst;
        if (syllable is >= 0 and < Leads * Vowels * Tails && syllable % Tails == 0 && tail is > 0 and < Tails)
        {
            composed = first + tail;
            return true;
        }
        return Compositions.TryGetValue((first, second), out composed);
    }

    static byte ClassOf(int code) => code < FirstInteresting ? (byte)0 : Classes.GetValueOrDefault(code);
}
