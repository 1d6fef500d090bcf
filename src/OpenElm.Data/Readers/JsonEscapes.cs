using System.Globalization;
using System.Text;

namespace OpenElm.Data.Readers;

/// <summary>
/// Decodes the inside of a JSON string that <see cref="System.Text.Json"/> has checked but will not decode because it escapes
/// half of a surrogate pair; such a half becomes U+FFFD, as in step 7 of the clean-up.
/// </summary>
internal static class JsonEscapes
{
    /// <summary>Decodes <paramref name="json"/>, with one unit of room for each of its bytes; -1 if it is not valid UTF-8.</summary>
    public static int Decode(ReadOnlySpan<byte> json, Span<char> text)
    {
        int length = 0;
        while (!json.IsEmpty)
        {
            int plain = json.IndexOf((byte)'\\');
            plain = plain < 0 ? json.Length : plain;
            if (!System.Text.Unicode.Utf8.IsValid(json[..plain]))
            {
                return -1;
            }

            length += Encoding.UTF8.GetChars(json[..plain], text[length..]);
            json = json[plain..];
            if (json.IsEmpty)
            {
                break;
            }

            if (json[1] == 'u')
            {
                text[length++] = (char)ushort.Parse(json.Slice(2, 4), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture);
                json = json[6..];
            }
            else
            {
                text[length++] = (char)json[1] switch { 'n' => '\n', 't' => '\t', 'r' => '\r', 'b' => '\b', 'f' => '\f', char other => other };
                json = json[2..];
            }
        }

        ReplaceHalfPairs(text[..length]);
        return length;
    }

    static void ReplaceHalfPairs(Span<char> text)
    {
        for (int i = 0; i < text.Length; i++)
        {
            if (char.IsHighSurrogate(text[i]) && i + 1 < text.Length && char.IsLowSurrogate(text[i + 1]))
            {
                i++;
            }
            else if (char.IsSurrogate(text[i]))
            {
                text[i] = '\uFFFD';
            }
        }
    }
}
