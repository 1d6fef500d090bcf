using System.Buffers.Binary;
using System.Text;
using System.Text.RegularExpressions;

namespace OpenElm.Tests.Hostile;

/// <summary>Damages files: bits, lengths, offsets, missing and repeated pieces; the same seed gives the same damage.</summary>
internal static partial class Mutations
{
    static readonly ulong[] Extremes =
    [
        0, 1, 2, 7, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x100000000, 0x3FFFFFFFFFFFFFFF,
        0x7FFFFFFFFFFFFFFF, 0x8000000000000000, 0xFFFFFFFFFFFFFFF0, 0xFFFFFFFFFFFFFFFF,
    ];

    static readonly string[] JsonValues =
        ["-1", "0", "1", "2147483647", "2147483648", "-2147483648", "99999999999999999999", "1e999", "-1e999", "0.5", "1e-300", "null", "true", "[]", "{}", "\"\"", "\"x\"", "[1,2]", "[1e99]", "[null]", "\"..\\u0000\"", "\"\\ud800\""];

    /// <summary>A damaged copy.</summary>
    /// <param name="original">The file.</param>
    /// <param name="random">Chooses the damage.</param>
    /// <returns>Other bytes, rarely the same.</returns>
    public static byte[] Mutate(byte[] original, Random random)
    {
        byte[] bytes = [.. original];
        int rounds = random.Next(4) == 0 ? 1 + random.Next(4) : 1;
        for (int i = 0; i < rounds && bytes.Length > 0; i++)
        {
            bytes = Once(bytes, random);
        }

        return bytes;
    }

    static byte[] Once(byte[] bytes, Random random)
    {
        int at = Place(bytes.Length, random);
        switch (random.Next(9))
        {
            case 0:
            case 1:
                bytes[at] ^= (byte)(1 << random.Next(8));
                return bytes;
            case 2:
                bytes[at] = (byte)random.Next(256);
                return bytes;
            case 3:
                return bytes[..at];
            case 4: // a length, a count, an offset
            case 5:
                Span<byte> number = stackalloc byte[8];
                BinaryPrimitives.WriteUInt64LittleEndian(number, random.Next(4) == 0 ? (ulong)random.NextInt64() : Extremes[random.Next(Extremes.Length)] + (ulong)random.Next(-1, 2));
                int width = Math.Min(1 << random.Next(4), bytes.Length - at);
                number[..width].CopyTo(bytes.AsSpan(at));
                return bytes;
            case 6: // a piece over another: offsets and names that are there twice
                int length = Math.Min(1 + random.Next(64), bytes.Length - at);
                bytes.AsSpan(Place(bytes.Length - length + 1, random), length).CopyTo(bytes.AsSpan(at));
                return bytes;
            case 7: // what follows moves
                return random.Next(2) == 0 ? [.. bytes[..at], .. bytes[Math.Min(bytes.Length, at + 1 + random.Next(16))..]] : [.. bytes[..at], .. new byte[1 + random.Next(16)], .. bytes[at..]];
            default:
                return JsonOnce(bytes, random) ?? bytes;
        }
    }

    // Headers stand at the beginning, a zip's directory at the end: most damage goes there.
    static int Place(int length, Random random) => random.Next(4) switch
    {
        0 => random.Next(Math.Min(length, 64)),
        1 => random.Next(Math.Min(length, 2000)),
        2 => length - 1 - random.Next(Math.Min(length, 2000)),
        _ => random.Next(length),
    };

    static byte[]? JsonOnce(byte[] bytes, Random random)
    {
        int end = Math.Min(bytes.Length, 4000);
        string text = Encoding.Latin1.GetString(bytes, 0, end);
        MatchCollection values = JsonValue().Matches(text);
        if (values.Count == 0)
        {
            return null;
        }

        Match chosen = values[random.Next(values.Count)];
        string changed = string.Concat(text.AsSpan(0, chosen.Index), JsonValues[random.Next(JsonValues.Length)], text.AsSpan(chosen.Index + chosen.Length));
        return [.. Encoding.Latin1.GetBytes(changed), .. bytes[end..]];
    }

    [GeneratedRegex("""(?<=[:,\[]\s*)(-?\d+(\.\d+)?|"[^"]*"|true|false)""")]
    private static partial Regex JsonValue();
}
