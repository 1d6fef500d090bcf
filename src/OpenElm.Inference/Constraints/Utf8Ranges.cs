namespace OpenElm.Inference.Constraints;

/// <summary>A range of bytes.</summary>
/// <param name="First">The first.</param>
/// <param name="Last">The last.</param>
internal readonly record struct ByteRange(byte First, byte Last);

/// <summary>
/// Splits a range of characters into sequences of byte ranges, such that a character is in the range exactly if its UTF-8
/// bytes fit one sequence: U+00E0 to U+0800 is [C3][A0–BF], [C4–DF][80–BF], [E0][A0][80].
/// </summary>
internal static class Utf8Ranges
{
    /// <summary>The sequences of a range.</summary>
    /// <param name="first">The first character.</param>
    /// <param name="last">The last character; no surrogate lies between.</param>
    /// <returns>Sequences of one to four ranges.</returns>
    public static IEnumerable<ByteRange[]> Of(int first, int last)
    {
        // Characters of different length in bytes never share a sequence.
        foreach (int longest in (int[])[0x7F, 0x7FF, 0xFFFF, 0x10FFFF])
        {
            if (first <= longest)
            {
                int end = Math.Min(last, longest);
                foreach (ByteRange[] sequence in SameLength(first, end))
                {
                    yield return sequence;
                }

                first = end + 1;
                if (first > last)
                {
                    yield break;
                }
            }
        }
    }

    // A sequence is a product of ranges, so all bits below the first that differs must run from all zeros to all ones.
    static IEnumerable<ByteRange[]> SameLength(int first, int last)
    {
        for (int bits = 6; bits <= 18 && first > 0x7F; bits += 6)
        {
            int low = (1 << bits) - 1;
            if ((first & ~low) != (last & ~low))
            {
                if ((first & low) != 0)
                {
                    return SameLength(first, first | low).Concat(SameLength((first | low) + 1, last));
                }

                if ((last & low) != low)
                {
                    return SameLength(first, (last & ~low) - 1).Concat(SameLength(last & ~low, last));
                }
            }
        }

        byte[] from = Bytes(first), to = Bytes(last);
        return [[.. from.Zip(to, (a, b) => new ByteRange(a, b))]];
    }

    static byte[] Bytes(int codePoint)
    {
        byte[] bytes = new byte[4];
        return bytes[..new System.Text.Rune(codePoint).EncodeToUtf8(bytes)];
    }
}
